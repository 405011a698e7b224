"""The properties of many events as columns: entries of maps, looked up by name for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.packing import Ints
from pipelines.avro_columns import Mask


@dataclass(frozen=True)
class PropertyColumns:
    """Entries of n records, no name twice in one.

    keys, values, row
        Shape (n_entries,): name, text and record of each.
    """

    keys: pa.StringArray
    values: pa.StringArray
    row: Ints
    n: int

    def first_of(self, names: Sequence[str]) -> Ints:
        """Per record the index of its entry with the first of the names that it has, -1 = none; shape (n,)."""
        found = np.full(self.n, -1, np.int64)
        for name in reversed(names):
            entries = self._named(name)
            found[self.row[entries]] = entries
        return found

    def has_any(self, names: Sequence[str]) -> Mask:
        """Which records have a property of one of the names, shape (n,)."""
        out = np.zeros(self.n, bool)
        for name in names:
            out[self.row[self._named(name)]] = True
        return out

    def texts(self, entries: Ints) -> pa.StringArray:
        """Values of entries by index, null for -1."""
        return self.values.take(pa.array(entries, mask=entries < 0))

    def maps(self, wanted: Mask) -> pa.MapArray:
        """All properties of the wanted records, null for the others; shape (n,)."""
        chosen = np.flatnonzero(wanted[self.row])
        order = pa.array(chosen[np.argsort(self.row[chosen], kind="stable")])
        count = np.bincount(self.row[chosen], minlength=self.n)
        offsets = np.concatenate(([0], np.cumsum(count))).astype(np.int32)
        is_null = np.append(~wanted, False)
        return pa.MapArray.from_arrays(pa.array(offsets, mask=is_null), self.keys.take(order), self.values.take(order))

    def _named(self, name: str) -> Ints:
        code = self._codes.get(name)
        return np.flatnonzero(self._code == code) if code is not None else np.empty(0, np.int64)

    @cached_property
    def _dictionary(self) -> pa.DictionaryArray:
        return pc.dictionary_encode(self.keys)

    @cached_property
    def _code(self) -> Ints:
        return np.asarray(self._dictionary.indices, np.int64)

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self._dictionary.dictionary.to_pylist())}
