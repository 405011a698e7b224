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
    try:
        return cast(F, njit(cache=True, nogil=True)(function))
    except RuntimeError:  # neither the source's folder nor the user's own can be written: every process compiles
        return cast(F, njit(nogil=True)(function))
