"""The learner's state as one file, replaced whole: whoever is killed at any moment leaves the old one or the new one.

First a line that says the format, then a pickle, which runs code when it is read: the file is as trusted as the code.
"""

import os
import pickle
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final

from firstmile.durable import to_disk
from firstmile.errors import DataError
from training.online_join import Bounds
from training.online_state import Recipe, State, fresh_state

FILE: Final = "learner.snapshot"
HEAD: Final = b"firstmile learner 1\n"


def write_snapshot(path: Path, state: State, *, after: Callable[[str], None] = lambda _: None) -> None:
    """Replace the snapshot.

    after
        Called with the name of each step that was done: written, replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(HEAD)
        pickle.dump(state, file, protocol=pickle.HIGHEST_PROTOCOL)
        file.flush()
        os.fsync(file.fileno())
    after("written")
    part.replace(path)
    to_disk(path.parent)
    after("replaced")


def read_snapshot(path: Path, recipe: Recipe, bounds: Bounds) -> State:
    """The state of the snapshot, within these bounds from now on; a fresh one when there is none.

    Raises DataError when the file cannot be read, or was learned by another recipe.
    """
    remedy = f"move {path} away to learn anew from the beginning of the log"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return fresh_state(recipe, bounds)
    if not data.startswith(HEAD):
        raise DataError(f"{path} begins with {data[: len(HEAD)]!r}, a snapshot with {HEAD!r}; {remedy}")
    try:
        state: State = pickle.loads(data[len(HEAD) :])
        was, now = asdict(state.recipe), asdict(recipe)
    except (pickle.UnpicklingError, EOFError, ImportError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no snapshot this version reads: {error!r}; {remedy}") from error
    changed = [f"{name} was {was[name]!r}, is {now[name]!r}" for name in now if was.get(name) != now[name]]
    if changed:
        raise DataError(f"{path} was learned differently: {'; '.join(changed)}. Set it back, or {remedy}")
    state.joiner.bounds = bounds
    return state
