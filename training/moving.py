"""Keeps those who move `champion` out of each other's way: a lock within a home, a second look across homes.

MLflow moves an alias without being told what it was. Who shares an MLflow with another home has only the second look,
and the moment between it and the move is unprotected.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from mlflow.tracking import MlflowClient

from firstmile.errors import ConflictError
from firstmile.settings import Settings
from training.alone import alone
from training.tracking import aliases

WAIT_S: Final = 300.0
"""Judging one model takes seconds, a minute or two where its champion's recipe is fitted again."""


@contextmanager
def moving(settings: Settings, *, verb: str, wait_s: float) -> Iterator[None]:
    """Hold the home's lock from the first look at the aliases until they are moved.

    Who trains holds another one and takes this within it, never the other way round.

    Raises ConflictError when another process holds it for longer than `wait_s`.
    """
    with alone(settings.home / "promotion", verb=verb, wait_s=wait_s):
        yield


def check_unmoved(client: MlflowClient, model: str, read: Mapping[str, str | None], *, remedy: str) -> None:
    """Raise ConflictError when an alias is another than the one that was read, which no lock of this home prevents.

    read
        Version by alias, None for an alias that was not set.
    """
    now = aliases(client, model)
    moved = [f"{a} from {was or 'unset'} to {now.get(a, 'unset')}" for a, was in read.items() if now.get(a) != was]
    if moved:
        raise ConflictError(
            f"{model}: somebody else moved {' and '.join(moved)} meanwhile, so its aliases were left alone; {remedy}"
        )
