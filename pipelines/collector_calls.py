"""The calls of one request, one by one: mapped, encoded and ready for Kafka, or refused with a reason."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from firstmile.http.guard import Guard
from firstmile.http.keys import Key
from firstmile.http.refusals import RefusalError
from firstmile.wire import RecordWriter
from pipelines.bounds import MAX_RECORD_BYTES
from pipelines.call_fields import CallError
from pipelines.collector_keys import RequestKeys
from pipelines.delivery import Queued
from pipelines.notes import Note
from pipelines.page_access import PageWriter
from pipelines.tracking import Arrival, Mapped, Repeats, map_call


@dataclass
class Calls:
    """What became of the calls of a request, by their place in it; a note on the request itself has none.

    used
        The keys that something was taken with.
    """

    queued: list[Queued] = field(default_factory=list)
    message_ids: list[str] = field(default_factory=list)
    notes: list[tuple[int | None, Note]] = field(default_factory=list)
    errors: list[tuple[int, RefusalError]] = field(default_factory=list)
    used: set[Key] = field(default_factory=set)

    def answer(self) -> dict[str, Any]:
        """What the sender is told when something was taken."""
        told: dict[str, Any] = {"accepted": len(self.message_ids), "message_ids": self.message_ids}
        told |= {"errors": _listed(self.errors)} if self.errors else {}
        return told | ({"notes": _listed(self.notes)} if self.notes else {})

    def refusal(self, *, is_batch: bool) -> RefusalError:
        """What the sender is told when nothing was taken: the first error, with its status if all have it."""
        first = self.errors[0][1]
        statuses = {error.status for _, error in self.errors}
        status = first.status if len(statuses) == 1 else HTTPStatus.BAD_REQUEST
        extra = {"errors": _listed(self.errors)} if is_batch else None
        return RefusalError(
            status, first.code, message=first.message, hint=first.hint, headers=first.headers, extra=extra
        )


@dataclass(frozen=True)
class Mapper:
    """Maps and encodes calls; `guard` proves the users of those with a publishable key."""

    writers: Mapping[str, RecordWriter]
    guard: Guard

    def map_all(self, calls: list[Any], arrival: Arrival, keys: RequestKeys, notes: list[Note]) -> Calls:
        """Every call, in order. Raises RefusalError (429) when a key is used too often.

        notes
            On the request itself.
        """
        found, repeats = Calls(notes=[(None, note) for note in notes]), Repeats()
        for index, call in enumerate(calls):
            try:
                key = keys.of(call)
                mapped = map_call(call, arrival, new_id=_new_id, index=index, writer=self._writer(key, arrival))
                queued = self._encoded(mapped, repeats)
            except RefusalError as error:
                if error.status == HTTPStatus.TOO_MANY_REQUESTS:
                    raise
                found.errors.append((index, error))
                continue
            repeats.remember(mapped)
            found.used.add(key)
            found.queued += queued
            found.message_ids.append(mapped.message_id)
            found.notes += [(index, note) for note in mapped.notes]
        return found

    def _writer(self, key: Key, arrival: Arrival) -> PageWriter | None:
        return PageWriter(arrival.rules.pages, self.guard.prove) if key.scope == "publishable" else None

    def _encoded(self, mapped: Mapped, repeats: Repeats) -> list[Queued]:
        """The records of a call. Raises CallError when the stream would not take one for its size."""
        queued = [(t, mapped.user_id, self.writers[t].encode(record)) for t, record in repeats.without(mapped)]
        n_bytes = max(len(value) for _, _, value in queued)
        if n_bytes > MAX_RECORD_BYTES:
            message = f"a record of the event has {n_bytes} bytes, at most {MAX_RECORD_BYTES} are taken"
            raise CallError("event_too_large", message, "send fewer or shorter properties and traits", status=413)
        return queued


def _listed(found: Iterable[tuple[int | None, RefusalError | Note]]) -> list[dict[str, Any]]:
    return [{**({} if index is None else {"index": index}), **each.as_json()} for index, each in found]


def _new_id() -> str:
    return str(uuid.uuid4())
