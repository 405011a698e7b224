"""Exposure: the page says that it showed an answer. Only then has its user met the arm of an experiment.

POST /api/exposure ─► a record of kind `shown` in personalization.outcomes, off the hot path, at least once (the same
message_id whenever it is said again) ─► counted once per experiment and arm.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from firstmile.clock import Clock, to_datetime
from firstmile.http.refusals import RefusalError
from serving.exposure_tokens import ExposureTokens, Met
from serving.requests import ExposureRequest

if TYPE_CHECKING:  # the API imports this module before there are models
    from serving.answers import Decision
    from serving.experiments import Assignment
    from serving.metrics import ExposureMetrics

SHOWN: Final = "shown"
MAX_REMEMBERED: Final = 20_000
"""Answers of whom a worker knows the arm without drawing it again, 0.4 kB each."""


@dataclass(frozen=True)
class Exposure:
    """One answer that was shown."""

    request_id: str
    user_id: str
    shown_us: int

    def record(self, *, worker: str, sequence: int) -> Mapping[str, Any]:
        """The record of personalization.outcomes."""
        moment = to_datetime(self.shown_us)
        return {
            "message_id": f"{self.request_id}-{SHOWN}",
            "request_id": self.request_id,
            "user_id": self.user_id,
            "kind": SHOWN,
            "content_id": None,
            "event_time": moment,
            "received_at": moment,
        }


@dataclass(frozen=True)
class _Answered:
    user_id: str
    met: Met
    is_shown: bool = False


class Exposures:
    """Takes acknowledgements. Used from one event loop.

    put
        Logs one; False when it could not be kept.
    assign
        Draws a user's arm, for answers this worker does not remember and no token tells of.
    """

    def __init__(
        self,
        put: Callable[[Exposure], bool],
        assign: Callable[[str], "Assignment"],
        *,
        tokens: ExposureTokens,
        clock: Clock,
        metrics: "ExposureMetrics",
        max_remembered: int = MAX_REMEMBERED,
    ) -> None:
        self._put = put
        self._assign = assign
        self._tokens = tokens
        self._clock = clock
        self._metrics = metrics
        self._max_remembered = max_remembered
        self._answered: OrderedDict[str, _Answered] = OrderedDict()

    def remember(self, decision: "Decision") -> str | None:
        """Keep an answer that may be shown; its token, by which workers that do not have it know its arm."""
        self._keep(decision.request_id, _Answered(decision.ask.user_id, _met(decision.assignment)))
        return self._tokens.make(decision)

    def shown(self, asked: ExposureRequest) -> None:
        """An answer was shown; said again, it changes nothing.

        Raises RefusalError when the answer was another user's (409), the token another answer's (403), or when too many
        wait for Kafka (429).
        """
        known = self._answered.get(asked.request_id)
        if known is not None and known.user_id != asked.subject:
            raise RefusalError(
                409,
                "not_this_users_answer",
                message=f"answer {asked.request_id} was another user's",
                hint="send the user_id, or anonymous_id, that the answer was asked for",
            )
        met = self._said(asked)
        if known is None:
            known = _Answered(asked.subject, met or _met(self._assign(asked.subject)))
        if known.is_shown:
            return
        if not self._put(Exposure(asked.request_id, asked.subject, self._clock.now_us())):
            raise RefusalError(
                429,
                "too_many_exposures",
                message="more exposures wait than can be kept",
                hint="send it again in a second",
                headers={"Retry-After": "1"},
            )
        self._keep(asked.request_id, replace(known, is_shown=True))
        self._metrics.exposures.labels(known.met.experiment, known.met.arm).inc()

    def _said(self, asked: ExposureRequest) -> Met | None:
        if asked.token is None:
            return None
        return self._tokens.read(asked.token, request_id=asked.request_id, subject=asked.subject)

    def _keep(self, request_id: str, answered: _Answered) -> None:
        self._answered[request_id] = answered
        if len(self._answered) > self._max_remembered:
            self._answered.popitem(last=False)


def _met(assignment: "Assignment") -> Met:
    return Met(assignment.name or "", assignment.arm)
