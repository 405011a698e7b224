"""What the backfill looks at before it folds, and what it leaves where nothing was counted."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from firstmile.settings import Settings
from pipelines.backfill import _says_any
from pipelines.content_tiles import HISTORY, TILES, ContentTiles

MAPS = pa.array(
    [[("a", "1")], [], None, [("b", "2"), ("a", "3")], [("c", "1")]], type=pa.map_(pa.string(), pa.string())
)


@pytest.mark.parametrize("parts", [[MAPS], [MAPS[:1], MAPS[1:]], [MAPS[:0], MAPS]])
def test_the_maps_with_one_of_the_names_are_found_in_any_chunks(parts: list[pa.Array]) -> None:
    column = pa.chunked_array(parts)
    assert _says_any(column, ["a", "x"]).tolist() == [True, False, False, True, False]
    assert _says_any(column[3:], ["c"]).tolist() == [False, True]
    assert not _says_any(column, []).any()


def test_a_history_of_content_is_there_before_anything_is_counted(tmp_path: Path) -> None:
    store = ContentTiles(Settings(home=tmp_path))
    store.ensure_history()
    (file,) = store.history.glob("*.parquet")
    assert pq.read_table(file).schema.equals(HISTORY)
    one = {**dict.fromkeys(TILES.names, 1), "content_id": "c", "segment": "unknown/new", "day": 20_000}
    store.upsert("lake", pa.Table.from_pylist([one], TILES))
    store.refresh_history()
    store.ensure_history()
    assert sum(pq.read_table(file).num_rows for file in store.history.glob("*.parquet")) == 1
