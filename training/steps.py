"""Progress of a long verb: what was done and how long it took, on stderr."""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from firstmile.cli import console


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what was done and how long it took; Feast's warnings about views being experimental are not news."""
    started = time.monotonic()
    with warnings.catch_warnings(), console.status(what):
        warnings.simplefilter("ignore")
        yield
    console.print(f"{what}, {time.monotonic() - started:.1f} s", highlight=False)
