"""Loops over numbers, compiled by numba: what costs numpy a dozen small calls a row is one.

The first process that calls one compiles it for its arguments' types, which takes a fraction of a second, and leaves it
on disk beside the source for all that follow.

What is on disk is known to be old by the function's own file alone. So a compiled function calls none of another
module, and takes their constants as arguments (tests/unit/test_compiled.py).
"""

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """The function compiled; others may use the interpreter while it runs."""
    return _compiled(function, nogil=True)


def held(function: F) -> F:
    """The function compiled, keeping the interpreter: for what takes microseconds and is asked where others wait.

    A process that gives the interpreter up queues for it behind whoever else runs.
    """
    return _compiled(function, nogil=False)


def _compiled(function: F, *, nogil: bool) -> F:
    try:
        return cast(F, njit(cache=True, nogil=nogil)(function))
    except RuntimeError:  # neither the source's folder nor the user's own can be written: every process compiles
        return cast(F, njit(nogil=nogil)(function))
