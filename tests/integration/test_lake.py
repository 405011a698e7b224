"""Commits to a lake that die between two effects and are done again: every event in it once."""

from pathlib import Path

import pyarrow as pa
import pytest

from firstmile.errors import DataError
from firstmile.names import ENRICHED
from pipelines.lake import STEPS, Lake


class KilledError(Exception):
    """Stands for the end of the process."""


def enriched(offsets: range, *, topic_id: str = "t") -> pa.Table:
    """Events of one source partition, as the archive decodes them."""
    n = len(offsets)
    return pa.table(
        {
            "enriched_partition": pa.array([0] * n, pa.int32()),
            "source_topic_id": [topic_id] * n,
            "source_topic": ["actions"] * n,
            "source_partition": pa.array([0] * n, pa.int32()),
            "source_offset": pa.array(list(offsets), pa.int64()),
            "received_us": pa.array([o + 1 for o in offsets], pa.int64()),
        }
    )


def end(offset: int) -> dict[tuple[str, int], int]:
    return {(ENRICHED, 0): offset}


def offsets(lake: Lake) -> list[int]:
    return [int(o) for o in lake.read()["source_offset"].to_pylist()]


@pytest.mark.parametrize("dies_after", STEPS)
def test_a_commit_done_again_holds_every_event_once(tmp_path: Path, dies_after: str) -> None:
    def die(step: str) -> None:
        if step == dies_after:
            raise KilledError

    Lake(tmp_path).commit(enriched(range(5)), end(5), topic_id="e")
    with pytest.raises(KilledError):
        Lake(tmp_path, after=die).commit(enriched(range(5, 9)), end(9), topic_id="e")
    entry = Lake(tmp_path).commit(enriched(range(5, 9)), end(9), topic_id="e")
    assert entry.n_rows == 4
    Lake(tmp_path).commit(enriched(range(9, 12)), end(12), topic_id="e")
    assert offsets(Lake(tmp_path)) == list(range(12))
    assert Lake(tmp_path).covered() == {"0|t|actions|0": 11}


def test_what_the_stream_sends_again_is_left_out(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.commit(enriched(range(6)), end(6), topic_id="e")
    assert lake.commit(enriched(range(3, 8)), end(11), topic_id="e").n_rows == 2
    assert lake.commit(enriched(range(3, 8)), end(16), topic_id="e").n_rows == 0
    assert offsets(lake) == list(range(8))


def test_an_enriched_topic_made_anew_does_not_take_the_old_ones_files(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.commit(enriched(range(5)), end(5), topic_id="e")
    assert lake.commit(enriched(range(5, 10)), end(5), topic_id="f").n_rows == 5
    assert offsets(lake) == list(range(10))


def test_a_committed_file_that_is_gone_is_named(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    entry = lake.commit(enriched(range(5)), end(5), topic_id="e")
    (lake.events / entry.file).unlink()
    with pytest.raises(DataError, match=f"{entry.file}.*restore the file"):
        lake.covered()


def test_the_lake_knows_which_partitions_of_these_very_topics_it_has(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.commit(enriched(range(2)), end(2), topic_id="e")
    assert lake.partitions({"actions": "t"}) == {("actions", 0)}
    assert lake.partitions({"actions": "made anew"}) == set()
