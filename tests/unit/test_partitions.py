"""Which counts of partitions users are looked for by: what is said first, and how long a former count matters."""

from collections.abc import Mapping

from feature_repo.partitions import PRODUCERS_LEARN_US, PartitionCounts
from feature_repo.progress import Partition, Progress

NOW_US = 1_790_000_000_000_000
LEARNT_US = NOW_US + PRODUCERS_LEARN_US


def every(n: int, offset: int) -> dict[Partition, int]:
    return {("t", number): offset for number in range(n)}


def records(offsets: Mapping[Partition, int]) -> dict[Partition, Progress]:
    return {partition: Progress(offset, "id", 0) for partition, offset in offsets.items()}


def grown() -> PartitionCounts:
    """From two partitions to twelve, a moment ago."""
    counts = PartitionCounts(2)
    for n in (2, 12):
        counts.saw({n}, now_us=NOW_US)
        counts.settle(every(n, 5), records(every(n, 5)), now_us=NOW_US)
    return counts


def test_what_records_say_counts_more_than_the_setting_and_kafkas_word_more_than_both() -> None:
    counts = PartitionCounts(2)
    assert counts.in_use == (2,)
    counts.guess(6)
    assert counts.in_use == (6,)
    counts.saw({12}, now_us=NOW_US)
    counts.guess(6)
    assert counts.in_use == (12,)  # what was guessed was no count of before


def test_former_count_matters_until_producers_know_the_new_one_and_the_stream_has_read_what_lay_there_then() -> None:
    counts = grown()
    assert counts.in_use == (12, 2)
    counts.settle(every(12, 8), records(every(12, 8)), now_us=LEARNT_US - 1)
    assert counts.in_use == (12, 2)
    counts.settle(every(12, 9), records(every(12, 8)), now_us=LEARNT_US)
    assert counts.in_use == (12, 2)
    counts.settle(every(12, 99), records({**every(12, 0), ("t", 0): 9, ("t", 1): 8}), now_us=LEARNT_US)
    assert counts.in_use == (12, 2)
    counts.settle(every(12, 99), records({**every(12, 0), ("t", 0): 9, ("t", 1): 9}), now_us=LEARNT_US)
    assert counts.in_use == (12,)


def test_stream_that_knows_nothing_of_new_partitions_tells_the_former_count_to_who_did_not_see_them_come() -> None:
    counts = PartitionCounts(3)
    for now_us in (NOW_US, LEARNT_US, 2 * LEARNT_US):
        counts.saw({12}, now_us=now_us)
        counts.settle(every(12, 5), records(every(2, 5)), now_us=now_us)
        assert counts.in_use == (12, 2)
    counts.settle(every(12, 5), records(every(12, 5)), now_us=2 * LEARNT_US)
    assert counts.in_use == (12,)


def test_lost_store_tells_no_count() -> None:
    counts = PartitionCounts(3)
    counts.saw({12}, now_us=NOW_US)
    counts.settle(every(12, 5), {}, now_us=NOW_US)
    assert counts.in_use == (12,)


def test_topics_that_grow_one_after_another_have_both_counts_and_then_the_former_one() -> None:
    counts = PartitionCounts(3)
    for seen in ({2}, {2, 12}, {12}):
        counts.saw(seen, now_us=NOW_US)
    assert counts.in_use == (12, 2)


def test_topics_made_anew_with_fewer_partitions_have_no_former_count() -> None:
    counts = PartitionCounts(3)
    for seen in ({12}, {2}):
        counts.saw(seen, now_us=NOW_US)
    assert counts.in_use == (2,)
    counts.saw({4}, now_us=NOW_US)
    assert counts.in_use == (4, 2)
