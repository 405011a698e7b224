"""A user's features by name over one array: a model takes its vector out of it by one call, no dictionary is made."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from feature_repo.fields import PROFILE_NUMBERS
from feature_repo.windows import FEATURE_NAMES
from firstmile.errors import FileError
from firstmile.product import current_product

if twice := sorted({*FEATURE_NAMES} & {*PROFILE_NUMBERS}):
    raise FileError(
        f"{current_product()}/profile.yaml: the trait {twice[0]!r} has the name of a feature; choose another"
    )
NAMES = (*FEATURE_NAMES, *PROFILE_NUMBERS)
"""Every feature of a user: of the windows, then the profile's numbers."""
_PLACES = {name: at for at, name in enumerate(NAMES)}


class FeatureValues(Mapping[str, float | None]):
    """The features in NAMES, None where one is not known.

    numbers
        Shape (len(NAMES),), NaN = not known.
    """

    __slots__ = ("_numbers",)

    def __init__(self, numbers: NDArray[np.float64]) -> None:
        self._numbers = numbers

    def __getitem__(self, name: str) -> float | None:
        number = self._numbers.item(_PLACES[name])
        return number if number == number else None  # NaN is not itself

    def __contains__(self, name: object) -> bool:
        return name in _PLACES

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)

    def vector(self, names: tuple[str, ...]) -> NDArray[np.float32]:
        """Features in the order of names, NaN where one is not known, shape (len(names),)."""
        at, is_known = _places(names)
        return np.where(is_known, self._numbers[at], np.nan).astype(np.float32)


@lru_cache(maxsize=64)
def _places(names: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where each stands, and whether there is such a feature at all."""
    return np.array([_PLACES.get(n, 0) for n in names], np.int64), np.array([n in _PLACES for n in names], bool)
