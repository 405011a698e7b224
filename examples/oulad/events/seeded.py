"""Invented numbers that depend on what they are for and on nothing else: hashing, not a running generator.

The same (seed, purpose, keys) always gives the same number, whichever rows stand beside it; so a part of a data set
is invented exactly as the whole would be.
"""

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Keys = npt.NDArray[np.uint64] | npt.NDArray[np.int64]
U64Array = npt.NDArray[np.uint64]
FloatArray = npt.NDArray[np.float64]


def uniform(seed: int, purpose: str, *keys: Keys) -> FloatArray:
    """One number in [0, 1) per row of the key columns.

    >>> a = uniform(7, "doc", np.array([1, 2, 3]))
    >>> b = uniform(7, "doc", np.array([3]))
    >>> bool(a[2] == b[0]), bool((0 <= a).all() and (a < 1).all())
    (True, True)
    """
    mixed = _mix(np.array([_text_key(f"{seed}/{purpose}")], dtype=np.uint64))
    for key in keys:
        mixed = _mix(mixed ^ key.astype(np.uint64))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def text_keys(column: pa.ChunkedArray) -> U64Array:
    """A key per row of a text column, hashing each distinct text once."""
    codes = column.combine_chunks().dictionary_encode()
    keys = np.array([_text_key(text) for text in codes.dictionary.to_pylist()], dtype=np.uint64)
    found: U64Array = keys[codes.indices.to_numpy(zero_copy_only=False)]
    return found


def _text_key(text: str) -> int:
    return int.from_bytes(hashlib.sha1(text.encode(), usedforsecurity=False).digest()[:8], "big")


def _mix(x: U64Array) -> U64Array:
    """splitmix64's step (Steele, Lea, Flood 2014): every input bit reaches every output bit; wraps at 2**64."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
