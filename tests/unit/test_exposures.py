"""Exposures: their record, and how many answers a worker remembers."""

import asyncio
import time

import orjson
import pytest
from serving_builder import NOW_US, Row, Rows, experiments, ladder

from firstmile.clock import FixedClock, to_datetime
from firstmile.http.keys import KeyRing
from firstmile.http.refusals import RefusalError
from firstmile.names import CHAMPION
from pipelines.topics import schema_text
from serving.answers import Decision
from serving.experiments import Assignment
from serving.exposure_tokens import ExposureTokens
from serving.exposures import Exposure, ExposureRequest, Exposures
from serving.metrics import Metrics
from serving.requests import Ask


def decision(user_id: str = "u1") -> Decision:
    on = ladder(Rows({"u1": Row()}), drawn_from=experiments(CHAMPION))
    return asyncio.run(on.decide(Ask(user_id), started_s=time.perf_counter()))


def exposures(put: list[Exposure], *, max_remembered: int = 10) -> Exposures:
    def take(one: Exposure) -> bool:
        put.append(one)
        return True

    return Exposures(
        take,
        lambda user_id: Assignment("drawn", "again"),
        tokens=ExposureTokens(lambda: KeyRing({}, ["sesame"])),
        clock=FixedClock(NOW_US),
        metrics=Metrics().shown,
        max_remembered=max_remembered,
    )


def test_record_has_exactly_the_fields_of_the_schema() -> None:
    record = Exposure("r1", "u1", NOW_US).record(worker="w", sequence=0)
    assert set(record) == {f["name"] for f in orjson.loads(schema_text("personalization.outcomes"))["fields"]}
    assert (record["kind"], record["event_time"]) == ("shown", to_datetime(NOW_US))


def test_said_again_it_has_the_same_message_id_whoever_takes_it() -> None:
    put: list[Exposure] = []
    shown = ExposureRequest(request_id="0" * 32, user_id="u1")
    for _ in range(2):
        exposures(put).shown(shown)
    assert len(put) == 2
    assert len({one.record(worker="w", sequence=n)["message_id"] for n, one in enumerate(put)}) == 1


def test_answers_beyond_the_memory_are_taken_on_trust_and_the_newest_are_known() -> None:
    put: list[Exposure] = []
    on = exposures(put, max_remembered=2)
    made = [decision() for _ in range(3)]
    for one in made:
        on.remember(one)
    with pytest.raises(RefusalError, match="was another user's"):
        on.shown(ExposureRequest(request_id=made[1].request_id, user_id="somebody"))
    on.shown(ExposureRequest(request_id=made[0].request_id, user_id="somebody"))
    assert [one.request_id for one in put] == [made[0].request_id]
