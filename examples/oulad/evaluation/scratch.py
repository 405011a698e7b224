"""An offline history of its own for one evaluation: the backfill verb, in a home that is thrown away.

Stages meet in data: the same clean, fold and windows as always, read through Feast's point-in-time retrieval as
training reads them. Neither the online store nor the lake nor the real history is touched.
"""

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from feature_repo.store import apply
from firstmile.errors import DataError
from firstmile.settings import Settings
from training.child import environment, verb


@contextmanager
def scratch_store(
    settings: Settings, data: Path, presentations: Sequence[str], *, to_day: int, with_content: bool = False
) -> Iterator[Any]:
    """A feature store over the history of an OULAD folder until `to_day`; gone afterwards.

    with_content
        Content statistics too.

    Raises DataError with the backfill's own words when it refuses the folder.
    """
    with tempfile.TemporaryDirectory(prefix="firstmile-evaluate-") as home:
        apart = settings.model_copy(update={"home": Path(home)})
        words = ["backfill", "oulad", "--data", str(data), "--presentations", ",".join(presentations)]
        words += ["--to-day", str(to_day), *([] if with_content else ["--no-content"])]
        done = subprocess.run(
            verb(words),
            env=environment(apart),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            last = said[-1] if said else f"the backfill ended with {done.returncode} and without a word"
            raise DataError(last.partition("Error: ")[2] or last)
        yield apply(apart)
