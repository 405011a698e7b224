"""Makes labels of a product's users by labels.yaml, out of its events.

Day N of an onboarding is its (N+1)-th 24 hours, counted from the event it began with. A label may look past day N, a
population may not; a label whose last day is not over is no label yet, and is counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from feature_repo.applied import message_hash
from firstmile.clock import MICROS_PER_DAY
from firstmile.documents import Document
from firstmile.errors import unknown_name
from training.arrays import BoolArray, IntArray
from training.cohorts import cohorts, judged_days
from training.labelled import Counts, Labelled, Users, leave_out
from training.labels_file import AnyLabel, LabelFile, Levels, Preference, Quiet, Reached, Which, task_of

LabelsOf = tuple[IntArray, BoolArray]
_COLUMNS: Final = ["user_id", "cohort", "person", "day", "label", "judged_label", "until_day", "now_us"]


@dataclass(frozen=True)
class Events:
    """Events of users, by number.

    frame
        Columns user (index into the users asked about, -1 = none of them), name, family, format, event_us.
    """

    frame: pd.DataFrame
    n_users: int

    def count(self, which: Which, after_us: IntArray, until_us: IntArray) -> IntArray:
        """Events of each user after one instant, up to and with another; shape (n_users,), as both of these."""
        user = self.frame["user"].to_numpy(np.int64)[self._inside(which, after_us, until_us)]
        return np.bincount(user, minlength=self.n_users)

    def by_format(self, which: Which, formats: Sequence[str], after_us: IntArray, until_us: IntArray) -> IntArray:
        """The same by format, shape (n_users, n_formats) in the order of `formats`."""
        chosen = self.frame[self._inside(which, after_us, until_us) & self.frame["format"].isin(list(formats))]
        at = chosen["format"].map({name: i for i, name in enumerate(formats)}).to_numpy(np.int64)
        index = chosen["user"].to_numpy(np.int64) * len(formats) + at
        return np.bincount(index, minlength=self.n_users * len(formats)).reshape(self.n_users, -1)

    def _inside(self, which: Which, after_us: IntArray, until_us: IntArray) -> BoolArray:
        user, at_us = self.frame["user"].to_numpy(np.int64), self.frame["event_us"].to_numpy(np.int64)
        # User -1 reads the last instant, and is left out.
        inside = (user >= 0) & (at_us > after_us[user]) & (at_us <= until_us[user])
        return np.asarray(inside & is_one_of(self.frame, which), bool)


def is_one_of(frame: pd.DataFrame, which: Which) -> BoolArray:
    """Which events are spoken of, shape (n_events,)."""
    if which.events == "any":
        return np.ones(len(frame), bool)
    named = frame["name"].isin(list(which.events)) | frame["family"].isin(list(which.families))
    return named.to_numpy(bool)


def event_labels(file: LabelFile, events: pd.DataFrame, *, ends_us: int) -> dict[str, Labelled]:
    """Labelled users by model.

    events
        As `lake_events.product_events` gives them.
    ends_us
        Until when it is known what happened.
    """
    return {model: _labelled(model, spec, events, ends_us) for model, spec in file.specs.items()}


def check_names(document: Document, file: LabelFile, known: Sequence[str]) -> None:
    """Refuse an event name that nobody ever sent: a label of it would be the same for everybody.

    Raises DataError naming the line.
    """
    for model, spec in file.specs.items():
        for i, name in enumerate(spec.since):
            if name not in known:
                document.refuse((model, "since", i), unknown_name("event", name, known))
        for key, which in spec.whiches().items():
            for i, name in enumerate(() if which.events == "any" else which.events):
                if name not in known:
                    document.refuse((model, *key, "events", i), unknown_name("event", name, known))


def _labelled(model: str, spec: AnyLabel, events: pd.DataFrame, ends_us: int) -> Labelled:
    """One model's users at each of its days, stacked."""
    begins = events[events["name"].isin(list(spec.since))].groupby("user_id")["event_us"].min()
    began_us = begins.to_numpy(np.int64)
    code = pd.Series(np.arange(len(begins)), index=begins.index)
    numbered = Events(events.assign(user=events["user_id"].map(code).fillna(-1).astype(np.int64)), len(begins))
    never = int(events["user_id"].nunique()) - len(begins)
    users = pd.DataFrame({"user_id": begins.index.to_numpy(object), "began_us": began_us})
    parts: list[pd.DataFrame] = []
    counts: dict[int, Counts] = {}
    for day in task_of(spec).snapshot_days:
        rows, counts[day] = _at(spec, users, numbered, day=day, ends_us=ends_us)
        counts[day]["left_out:onboarding never began"] = never
        parts.append(rows.assign(day=day, until_day=spec.until_day(day), judged_label=rows["label"]))
    stacked = pd.concat(parts, ignore_index=True).sort_values(["user_id", "day"], ignore_index=True)
    stacked["person"] = message_hash(stacked["user_id"].to_numpy(object))
    began = stacked.drop_duplicates("user_id").set_index("user_id")["began_us"]
    last = max(judged_days(stacked["day"].to_numpy(np.int64), task_of(spec).evaluated_days))
    is_old = _end_us(began.to_numpy(np.int64), spec.until_day(last)) + spec.delay_days * MICROS_PER_DAY <= ends_us
    names = pd.Series(cohorts(began.to_numpy(np.int64), is_old), index=began.index, dtype=object)
    stacked["cohort"] = stacked["user_id"].map(names)
    return Labelled(stacked[_COLUMNS].astype({"day": np.int64, "until_day": np.int64}), counts)


def _at(spec: AnyLabel, users: Users, events: Events, *, day: int, ends_us: int) -> tuple[Users, Counts]:
    """Users at the end of day N with label and now_us."""
    began_us = users["began_us"].to_numpy(np.int64)
    now_us, until_us = (_end_us(began_us, d) for d in (day, spec.until_day(day)))

    def reached(which: Which) -> BoolArray:
        return events.count(which, _ever(now_us), now_us) >= which.count

    why = {
        "not this far yet": now_us > ends_us,
        "future not over": until_us + spec.delay_days * MICROS_PER_DAY > ends_us,
    }
    if isinstance(spec, Reached):
        why["reached by then"] = reached(spec.reached)
    if spec.has is not None:
        why["has not what is asked for"] = ~reached(spec.has)
    if spec.has_not is not None:
        why["has what is not asked for"] = reached(spec.has_not)
    n_asked = int((~why["not this far yet"]).sum())
    label, is_known = _labels(spec, events, now_us, until_us)
    why["nothing to tell by"] = ~is_known
    rows = users.assign(now_us=now_us, label=label)
    kept, counts = leave_out(rows, {name: pd.Series(mask, index=users.index) for name, mask in why.items()})
    counts["population"], counts["rows"] = n_asked, len(kept)
    return kept, counts


def _ever(like: IntArray) -> IntArray:
    """An instant before all events, per user."""
    return np.full_like(like, np.iinfo(np.int64).min)


def _end_us(began_us: IntArray, day: int) -> IntArray:
    """Last microsecond of a day of each onboarding."""
    return began_us + (day + 1) * MICROS_PER_DAY - 1


def _labels(spec: AnyLabel, events: Events, now_us: IntArray, until_us: IntArray) -> LabelsOf:
    """The label of every user, and whether there is one."""
    everybody = np.ones(events.n_users, bool)

    def has(which: Which) -> BoolArray:
        return events.count(which, now_us, until_us) >= which.count

    if isinstance(spec, Reached):
        # Of so many, some may have happened by day N.
        n_reached = events.count(spec.reached, _ever(until_us), until_us)
        return (n_reached >= spec.reached.count).astype(np.int64), everybody
    if isinstance(spec, Quiet):
        return (~has(spec.none_of)).astype(np.int64), everybody
    if isinstance(spec, Levels):
        reached = [np.full(events.n_users, i) * has(which) for i, which in enumerate(spec.levels.values()) if which]
        return np.max(reached, axis=0).astype(np.int64), everybody
    assert isinstance(spec, Preference)  # read_labels lets no other be without a source
    found = events.by_format(spec.most, task_of(spec).classes, now_us, until_us)
    return found.argmax(axis=1), found.sum(axis=1) >= spec.most.count
