"""Packed rows: what goes in comes out, what is damaged or of another layout is a DataError."""

from dataclasses import fields

import numpy as np
import pytest
from events_builder import DAY, T0, Event, arrivals, examples, fold_batches, fold_one, histories, splits, with_ids
from hypothesis import given
from hypothesis import strategies as st

from feature_repo import row, tiles
from feature_repo.applied import empty, message_hash, pack_applied, unpack_applied
from feature_repo.distinct import content_hash
from feature_repo.packing import Section, deltas, pack, undeltas, unpack, zigzag
from feature_repo.row import Rows, empty_rows, pack_rows, unpack_rows
from firstmile.errors import DataError

GREATEST = 2**63 - 1
NUMBERS = st.one_of(st.integers(0, 300), st.integers(0, GREATEST), st.sampled_from([2 ** (7 * k) for k in range(9)]))


def equal(a: object, b: object) -> bool:
    """Deep equality of dataclasses of arrays."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(equal, a, b))
    return all(equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))  # type: ignore[arg-type]


def full_row(n_contents: int = 70) -> Rows:
    """One row with something in every section."""
    opens = [
        Event(T0 + i * DAY // 7, family="content_open", content=f"c{i}", page=f"p{i % 9}", format="quiz", step="é")
        for i in range(n_contents)
    ]
    live = Event(T0, family="error", topic="t", partition=3, offset=9, onboarding_ms=T0)
    return fold_one(with_ids([*opens, live]))


@st.composite
def packables(draw: st.DrawFn) -> tuple[np.ndarray, list[Section]]:
    n = draw(st.integers(0, 4))
    numbers = draw(st.lists(NUMBERS, min_size=2 * n, max_size=2 * n))
    fixed = np.array(numbers, np.int64).reshape(2, n)
    sections = []
    for width in (1, 3):
        entries = st.tuples(st.integers(0, n - 1), *[NUMBERS] * width)
        found = sorted(draw(st.lists(entries, max_size=6)) if n else [], key=lambda e: e[0])
        table = np.array(found, np.int64).reshape(len(found), width + 1)
        sections.append(Section(table[:, 0], tuple(table[:, 1 + i] for i in range(width))))
    return fixed, sections


@examples(100)
@given(packables())
def test_any_numbers_come_back(packable: tuple[np.ndarray, list[Section]]) -> None:
    fixed, sections = packable
    blobs = pack(1, fixed, sections)
    again, found = unpack(blobs, layout=1, n_fixed=2, widths=(1, 3))
    assert again.tolist() == fixed.tolist()
    for section, back in zip(sections, found, strict=True):
        assert back.row.tolist() == section.row.tolist()
        assert [c.tolist() for c in back.columns] == [c.tolist() for c in section.columns]


@examples(60)
@given(st.lists(st.integers(-(2**62), 2**62 - 1), min_size=1))
def test_zigzag_and_deltas_have_inverses(values: list[int]) -> None:
    numbers = np.array(values, np.int64)
    coded = zigzag(numbers)
    assert ((coded >> 1) ^ -(coded & 1)).tolist() == values
    assert (coded >= 0).all()
    rows = np.sort(np.abs(numbers) % 3)
    assert undeltas(rows, deltas(rows, numbers)).tolist() == values


def test_a_negative_number_cannot_be_packed() -> None:
    with pytest.raises(DataError, match="negative value -1"):
        pack(1, np.array([[-1]]), ())


@examples(40)
@given(st.data())
def test_rows_of_any_history_come_back(data: st.DataObject) -> None:
    rows = fold_batches(data.draw(splits(data.draw(arrivals(data.draw(histories(n_users=3)))))), n_users=3)
    activity, applied = pack_rows(rows), pack_applied(rows.applied)
    again = unpack_rows(activity, applied, rows.version_us)
    assert equal(again, rows)
    assert pack_rows(again) == activity
    assert pack_applied(again.applied) == applied


def test_no_rows_and_empty_rows_come_back() -> None:
    assert pack_rows(empty_rows(0)) == []
    assert equal(unpack_rows([]), empty_rows(0))
    assert equal(unpack_applied(pack_applied(empty(0))), empty(0))
    assert equal(unpack_rows(pack_rows(empty_rows(2))), empty_rows(2))
    assert equal(unpack_rows([None, None], [None, None]), empty_rows(2))


def test_a_user_without_a_row_stands_between_users_with_one() -> None:
    packed = pack_rows(full_row())[0]
    rows = unpack_rows([None, packed, None, packed])
    blank = pack_rows(empty_rows(1))[0]
    assert pack_rows(rows) == [blank, packed, blank, packed]


@pytest.mark.parametrize("n_contents", [1, 70])
def test_huge_weights_and_far_text_come_back(n_contents: int) -> None:
    rows = full_row(n_contents)
    heavy = [Event(T0 + i, weight=2**40, step="階段🚀\n" * 10, message_id=f"h{i}") for i in range(50)]
    rows = fold_batches([heavy], rows=rows)
    assert equal(unpack_rows(pack_rows(rows), pack_applied(rows.applied), rows.version_us), rows)
    assert 50 * 2**40 in rows.life.weight.tolist()


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("n_contents", [2, 70])
def test_every_cut_of_a_row_is_refused(n_contents: int) -> None:
    rows = full_row(n_contents)
    for whole, is_activity in ((pack_rows(rows)[0], True), (pack_applied(rows.applied)[0], False)):
        for end in range(1, len(whole)):
            with pytest.raises(DataError, match="firstmile recover"):
                unpack_rows([whole[:end]]) if is_activity else unpack_applied([whole[:end]])


def test_every_flipped_bit_is_refused() -> None:
    rows = full_row(3)
    for whole, is_activity in ((pack_rows(rows)[0], True), (pack_applied(rows.applied)[0], False)):
        for place in range(8 * len(whole)):
            damaged = bytearray(whole)
            damaged[place // 8] ^= 1 << place % 8
            with pytest.raises(DataError, match="firstmile recover"):
                unpack_rows([bytes(damaged)]) if is_activity else unpack_applied([bytes(damaged)])


@examples(150)
@given(st.binary(min_size=1, max_size=200), st.booleans())
def test_arbitrary_bytes_are_refused(data: bytes, is_led_by_layout: bool) -> None:
    blob = bytes([row.LAYOUT]) + data if is_led_by_layout else data
    with pytest.raises(DataError):
        unpack_rows([blob])
    with pytest.raises(DataError):
        unpack_applied([blob])


@examples(80)
@given(st.data())
def test_a_stretch_written_over_is_refused(data: st.DataObject) -> None:
    whole = pack_rows(full_row(70))[0]
    at = data.draw(st.integers(0, len(whole) - 1))
    piece = data.draw(st.binary(min_size=1, max_size=40))
    damaged = whole[:at] + piece + whole[at + len(piece) :]
    if damaged != whole:
        with pytest.raises(DataError):
            unpack_rows([damaged])


def test_one_damaged_row_among_good_ones_is_named() -> None:
    good = pack_rows(full_row())[0]
    with pytest.raises(DataError, match="packed row 1"):
        unpack_rows([good, good[:-1] + bytes([good[-1] ^ 1]), good])


def test_another_layout_is_refused_and_says_how_to_rebuild() -> None:
    later = pack(row.LAYOUT + 1, np.zeros((1, row.N_FIXED), np.int64), ())
    with pytest.raises(DataError, match=r"layout \[3\], this code reads 2.*firstmile recover"):
        unpack_rows([*pack_rows(full_row()), *later])
    with pytest.raises(DataError, match="firstmile recover"):
        unpack_applied(later)


# ---------------------------------------------------------------- rows already stored somewhere


ACTIVITY_HEX = (
    "020101010101010101010007010001000000000080e8c18a97280080b0a8e1962880e8c18a97280000000000c003010104c0"
    "03010104c003010104c10301048102010400007369676e5f7570ddc9d5f00aa9cdaeb60c1dffc96d"
)
APPLIED_HEX = "01010100c096b102000000c48ebda4e6cae01e010700e184d2bdd8c7d423ac667193"
MESSAGE_HASHES = [20075147569693281, 1853284778694044]
CONTENT_HASHES = [2920637661, 0, 0, 110464380]


def test_the_bytes_of_layout_2_do_not_change_unnoticed() -> None:
    """A change here makes every stored row unreadable or, worse, readable as something else: raise LAYOUT with it."""
    event = Event(T0, 0, "content_open", 3, "c", "p", "quiz", "sign_up", T0 - DAY, "", "m", 5_000_000, "t", 1, 7)
    rows = fold_one([event])
    assert row.LAYOUT == 2
    assert pack_rows(rows)[0].hex() == ACTIVITY_HEX
    assert pack_applied(rows.applied)[0].hex() == APPLIED_HEX


def test_the_hashes_in_stored_rows_do_not_change_unnoticed() -> None:
    assert message_hash(["m", "topic é"]).tolist() == MESSAGE_HASHES
    assert content_hash(["c", "", None, "topic é"]).tolist() == CONTENT_HASHES
    assert message_hash([]).shape == content_hash([]).shape == (0,)


@pytest.mark.parametrize(("code", "last_ms"), [(32 * 64 * 64 * 8 + 1, T0), (1 + 64 * 40, T0), (3, 0), (3, 2**62)])
def test_tiles_beyond_their_row_are_refused_though_the_bytes_are_whole(code: int, last_ms: int) -> None:
    one, reference = np.zeros(1, np.int64), np.array([last_ms // 60_000])
    alone = Section(one, (np.array([code]), one + 1, one))
    with pytest.raises(DataError, match="cannot be"):
        tiles.from_section(alone, reference)
    runs, sums = Section(one, (np.array([code]), one + 1)), Section(one, (one + 1, one))
    with pytest.raises(DataError, match="cannot be"):
        tiles.from_runs(runs, sums, reference)


@pytest.mark.parametrize("lengths", [[2], [0], [2**62, 2**62, 3], [1, 1]])
def test_runs_that_are_not_those_of_the_sums_are_refused(lengths: list[int]) -> None:
    row = np.zeros(len(lengths), np.int64)
    runs = Section(row, (row + 1, np.array(lengths, np.int64)))
    one = np.zeros(1, np.int64)
    with pytest.raises(DataError, match="damaged"):
        tiles.from_runs(runs, Section(one, (one + 1, one)), np.array([1_000]))
