"""What the backfill looks at before it folds, and what it leaves where nothing was counted."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from demo_product import with_file

from examples.oulad.history import backfill
from examples.oulad.history.backfill import backfill_oulad
from examples.oulad.history.shard import says_any
from examples.oulad.tables import tables as oulad
from firstmile.errors import DataError
from firstmile.settings import Settings
from pipelines.content_tiles import HISTORY, TILES, ContentTiles

MAPS = pa.array(
    [[("a", "1")], [], None, [("b", "2"), ("a", "3")], [("c", "1")]], type=pa.map_(pa.string(), pa.string())
)


@pytest.mark.parametrize("parts", [[MAPS], [MAPS[:1], MAPS[1:]], [MAPS[:0], MAPS]])
def test_the_maps_with_one_of_the_names_are_found_in_any_chunks(parts: list[pa.Array]) -> None:
    column = pa.chunked_array(parts)
    assert says_any(column, ["a", "x"]).tolist() == [True, False, False, True, False]
    assert says_any(column[3:], ["c"]).tolist() == [False, True]
    assert says_any(column, []).tolist() == [False] * 5


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


DATA = Path(__file__).parents[2] / "data" / "oulad"
VIEWS = ("user_activity", "user_context", "user_profile")


@pytest.fixture(scope="module")
def some() -> oulad.OuladTables:
    """Thirty learners of two presentations."""
    tables = oulad.read(DATA, ["AAA_2013J", "AAA_2014J"])
    return tables.of(tables.users().take(pa.array(range(0, 700, 23)))[:30])


def history(home: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows of each view in a fixed order."""
    return {
        view: sorted(
            (row for file in (home / "history" / view).glob("*.parquet") for row in pq.read_table(file).to_pylist()),
            key=lambda row: (row["user_id"], row["event_timestamp"]),
        )
        for view in VIEWS
    }


def test_users_in_many_shards_have_the_history_they_have_in_one(
    some: oulad.OuladTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = backfill_oulad(Settings(home=tmp_path / "one"), some, days=(None, 40), workers=1)
    monkeypatch.setattr(backfill, "MAX_USERS_PER_SHARD", 10)
    many = backfill_oulad(Settings(home=tmp_path / "many"), some, days=(None, 40), workers=2)
    assert {**many, "seconds": 0} == {**one, "seconds": 0}
    assert len(list((tmp_path / "many" / "history" / "user_activity").glob("oulad-AAA_2013J-*"))) > 2
    found, expected = history(tmp_path / "many"), history(tmp_path / "one")
    assert {view: len(rows) >= 30 for view, rows in expected.items()} == dict.fromkeys(VIEWS, True)
    applied = [[row.pop("applied") for row in rows["user_activity"]] for rows in (found, expected)]
    assert found == expected
    assert list(map(len, applied[0])) == list(map(len, applied[1]))
    # With fewer shards than before, nothing of the others is left.
    monkeypatch.undo()
    backfill_oulad(Settings(home=tmp_path / "many"), some, days=(None, 40), workers=1)
    assert [row["activity"] for row in history(tmp_path / "many")["user_activity"]] == [
        row["activity"] for row in expected["user_activity"]
    ]


def test_days_without_events_are_refused_and_what_was_there_stays(some: oulad.OuladTables, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    backfill_oulad(settings, some, days=(None, 5), workers=1)
    before = history(tmp_path)
    with pytest.raises(DataError, match=r"no events in days 900 … 901; courses run from about -25 to 269"):
        backfill_oulad(settings, some, days=(900, 901), workers=1)
    assert history(tmp_path) == before


def test_rules_that_leave_out_everybody_are_refused_and_what_was_there_stays(
    some: oulad.OuladTables, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path)
    backfill_oulad(settings, some, days=(None, 5), workers=1)
    before = history(tmp_path)
    strict = with_file(settings, tmp_path, "cleaning", 'version: 1\ninternal: {user_ids: ["AAA_*"]}\n')
    with pytest.raises(DataError, match=r"cleaning.yaml leaves out every user; nothing was written"):
        backfill_oulad(strict, some, days=(None, 5), workers=1)
    assert history(tmp_path) == before
