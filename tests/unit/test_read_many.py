"""Rows decoded together are those decoded one by one; a damaged one spoils no other."""

from dataclasses import replace

import numpy as np
import pytest
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from online_rows import events_of

from feature_repo.activity import fold
from feature_repo.distinct import contains, content_hash
from feature_repo.fields import PROFILE
from feature_repo.online_store import feature_field, time_bytes
from feature_repo.reader import FIELDS, UserFeatures, decode, decode_many
from feature_repo.row import empty_rows, pack_rows
from firstmile.clock import MICROS_PER_DAY
from firstmile.errors import DataError
from firstmile.vocabulary import FORMATS

NOW_US = 1_790_000_000_000_000
CONTENTS = [str(877_000 + i) for i in range(90)]


def stored(n_opens: int, *, age_days: float = 6.0) -> list[bytes | None]:
    """The fields of a user who opened so many contents."""
    opens = [(content, FORMATS[i % 5]) for i, content in enumerate(CONTENTS[:n_opens])]
    events = events_of("u", opens, now_us=NOW_US, began_us=NOW_US - int(age_days * MICROS_PER_DAY))
    rows, _ = fold(empty_rows(1), events)
    packed = ValueProto(bytes_val=pack_rows(rows)[0]).SerializeToString()
    return [packed, time_bytes(int(rows.version_us[0])), *[None] * (len(FIELDS) - 2)]


NOTHING: list[bytes | None] = [None] * len(FIELDS)
DAMAGED: list[bytes | None] = [ValueProto(bytes_val=b"\x05damaged").SerializeToString(), *NOTHING[1:]]
USERS = [stored(3), NOTHING, stored(40), stored(0, age_days=0.1), stored(90), [None, *stored(1)[1:]]]


def same(one: UserFeatures, other: UserFeatures) -> bool:
    hashes = content_hash(CONTENTS)
    seen = np.array_equal(contains(one.contents, 0, hashes), contains(other.contents, 0, hashes))
    return seen and replace(one, contents=other.contents) == other


def test_users_decoded_together_are_as_decoded_alone_each_at_its_instant() -> None:
    asked = [(f"u{i}", NOW_US + i * 3_600_000_000) for i in range(len(USERS))]
    found = decode_many(asked, USERS)
    assert [f is None for f in found] == [False, True, False, False, False, False]
    for (user, now_us), fields, together in zip(asked, USERS, found, strict=True):
        alone = decode(user, fields, now_us)
        assert (alone is None) == (together is None)
        assert alone is None or (isinstance(together, UserFeatures) and same(alone, together))


def test_users_with_and_without_a_sketch_know_what_they_saw() -> None:
    found = decode_many([("a", NOW_US), ("b", NOW_US)], [stored(3), stored(90)])
    assert isinstance(found[0], UserFeatures)
    assert isinstance(found[1], UserFeatures)
    assert found[0].has_seen(CONTENTS[:5]) == [True, True, True, False, False]
    assert found[1].has_seen(CONTENTS) == [True] * len(CONTENTS)


def test_damaged_row_has_its_error_in_its_place_and_spoils_no_other() -> None:
    found = decode_many([("a", NOW_US), ("b", NOW_US), ("c", NOW_US)], [stored(3), DAMAGED, NOTHING])
    assert isinstance(found[0], UserFeatures)
    assert isinstance(found[1], DataError)
    assert found[2] is None
    with pytest.raises(DataError):
        decode("b", DAMAGED, NOW_US)


def test_nobody_asked_is_nobody_found() -> None:
    assert decode_many([], []) == []


@pytest.mark.parametrize("wrong", [ValueProto(string_val="n/a"), ValueProto(bytes_val=b"7")])
def test_a_number_of_the_profile_that_is_none_is_not_known_and_spoils_nobody(wrong: ValueProto) -> None:
    at = FIELDS.index(feature_field(PROFILE, "prior_attempts"))
    fields = stored(3)
    fields[at] = wrong.SerializeToString()
    found = decode_many([("a", NOW_US), ("b", NOW_US)], [fields, stored(3)])
    assert len(found) == 2
    assert all(isinstance(user, UserFeatures) and user.values["prior_attempts"] is None for user in found)
    fields[at] = ValueProto(int64_val=2).SerializeToString()
    known = decode("a", fields, NOW_US)
    assert known is not None
    assert known.values["prior_attempts"] == 2.0
