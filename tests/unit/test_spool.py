"""The spool's files: whole records come back, torn ones do not, and the bound holds."""

from pathlib import Path

import pytest
from decision_sinks import NOW_US, record, spool

from serving.exposures import Exposure
from serving.spool import N_SEGMENTS, read_segment


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    on = spool(tmp_path)
    on.open()
    given = [record(0), {**record(1), "features": {"n": 0.1 + 0.2, "m": None}}]
    assert on.append(given) == 0
    segment = on.take()
    assert segment
    assert read_segment(segment) == given
    assert on.take() is None


def test_what_a_page_showed_comes_back_too(tmp_path: Path) -> None:
    on = spool(tmp_path)
    on.open()
    shown = Exposure("r1", "u1", NOW_US).record(worker="w", sequence=0)
    on.append([shown])
    segment = on.take()
    assert segment
    assert read_segment(segment) == [shown]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_torn_last_line_is_passed_over(tmp_path: Path, cut: int) -> None:
    on = spool(tmp_path)
    on.open()
    on.append([record(0), record(1)])
    (file,) = tmp_path.rglob("*.jsonl")
    file.write_bytes(file.read_bytes()[:-cut])
    segment = on.take()
    assert segment
    assert read_segment(segment) == [record(0)]


def test_damaged_line_does_not_take_the_others_along(tmp_path: Path) -> None:
    on = spool(tmp_path)
    on.open()
    on.append([record(0), record(1), record(2)])
    (file,) = tmp_path.rglob("*.jsonl")
    lines = file.read_bytes().split(b"\n")
    file.write_bytes(b"\n".join([lines[0], b"\x00" * 9, lines[2], b""]))
    segment = on.take()
    assert segment
    assert read_segment(segment) == [record(0), record(2)]


def test_bound_holds_at_every_write_and_costs_an_eighth_at_a_time(tmp_path: Path) -> None:
    on, n_dropped, worst = spool(tmp_path, max_bytes=8_000), 0, 0
    on.open()
    for n in range(300):
        now = on.append([record(n)])
        n_dropped, worst = n_dropped + now, max(worst, now)
        assert sum(file.stat().st_size for file in tmp_path.rglob("*.jsonl")) <= 8_000
    found = []
    while segment := on.take():
        found += [r["sequence"] for r in read_segment(segment)]
        on.drop(segment)
    assert found == list(range(n_dropped, 300))
    assert 0 < worst <= 8_000 // N_SEGMENTS // 100 + 2


def test_order_is_kept_over_two_owners(tmp_path: Path) -> None:
    for n, worker in enumerate(("a", "b")):
        on = spool(tmp_path, worker)
        on.open()
        on.append([record(n)])
        on.close()
    last = spool(tmp_path, "c")
    last.open()
    last.append([record(2)])
    found = []
    while segment := last.take():
        found += [r["sequence"] for r in read_segment(segment)]
        last.drop(segment)
    assert found == [0, 1, 2]


def test_empty_folder_is_gone_when_its_owner_closes(tmp_path: Path) -> None:
    on = spool(tmp_path)
    on.open()
    on.close()
    assert [p.name for p in tmp_path.iterdir()] == ["lock"]
