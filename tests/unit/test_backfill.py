"""What the backfill looks at before it folds."""

import pyarrow as pa
import pytest

from pipelines.backfill import _says_any

MAPS = pa.array(
    [[("a", "1")], [], None, [("b", "2"), ("a", "3")], [("c", "1")]], type=pa.map_(pa.string(), pa.string())
)


@pytest.mark.parametrize("parts", [[MAPS], [MAPS[:1], MAPS[1:]], [MAPS[:0], MAPS]])
def test_the_maps_with_one_of_the_names_are_found_in_any_chunks(parts: list[pa.Array]) -> None:
    column = pa.chunked_array(parts)
    assert _says_any(column, ["a", "x"]).tolist() == [True, False, False, True, False]
    assert _says_any(column[3:], ["c"]).tolist() == [False, True]
    assert not _says_any(column, []).any()
