"""The lake as a folder of files written by versions that knew different columns."""

from pathlib import Path

import pyarrow as pa

from pipelines.lake import Lake


def events(offsets: range, **more: object) -> pa.Table:
    """Enriched events of one source partition."""
    n = len(offsets)
    columns = {
        "enriched_partition": [0] * n,
        "source_topic_id": ["t"] * n,
        "source_topic": ["actions"] * n,
        "source_partition": [0] * n,
        "source_offset": list(offsets),
        "received_us": [1_000 + o for o in offsets],
    }
    return pa.table({**columns, **{name: [value] * n for name, value in more.items()}})


def test_files_from_before_a_column_are_read_with_it_empty(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.commit(events(range(2)), {("enriched", 0): 2}, topic_id="t")
    lake.commit(events(range(2, 4), is_clamped=True), {("enriched", 0): 4}, topic_id="t")
    assert lake.read()["is_clamped"].to_pylist() == [None, None, True, True]
    assert lake.read()["source_offset"].to_pylist() == [0, 1, 2, 3]
