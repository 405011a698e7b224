"""What happened with the content of every shelf, in memory: read in the background, never by a request.

Every few seconds the times of all items are asked for, and those read that have changed. Standings are made anew each
time: what was opened in the last days depends on now.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import redis

from feature_repo.content_earlier import Openings, opened_earlier
from feature_repo.content_standing import RECENT_DAYS, Floats, Standing, counts_in_stage, standing
from feature_repo.content_stats import ContentStats, known_times, read_content
from feature_repo.fields import CONTENT_COUNTS
from feature_repo.online_store import CHUNK, batched
from firstmile.clock import Clock
from firstmile.names import STAGES
from serving.catalogue import Catalogue, Shelf
from serving.features import instant_us
from serving.format_odds import FormatOdds, format_odds

log = logging.getLogger(__name__)

PACE_S = 0.005
"""Between two portions of reading or counting: each holds the interpreter for some ms, and requests wait for it."""


@dataclass(frozen=True)
class Counted:
    """What a standing takes of one item's statistics.

    totals
        Shape (n_counts,), in the order of CONTENT_COUNTS.
    opened, shown
        Shape (n_stages,): openings and showings by STAGES.
    """

    totals: Floats
    opened: Floats
    shown: Floats
    openings: Openings | None

    @classmethod
    def of(cls, stats: ContentStats) -> "Counted":
        """Of statistics as read."""
        totals = np.array(list(stats.total().values()), np.float64)
        opened, shown = (counts_in_stage([stats.by_segment], name)[:, 0] for name in ("n_opened", "n_shown"))
        return cls(totals, opened, shown, stats.openings)


NOTHING = Counted(np.zeros(len(CONTENT_COUNTS)), np.zeros(len(STAGES)), np.zeros(len(STAGES)), ())
"""An item without statistics."""


@dataclass(frozen=True)
class Found:
    """What one look made, by cohort."""

    catalogue: Catalogue | None
    standings: Mapping[str, Standing]
    odds: Mapping[str, FormatOdds]


class ContentCounts:
    """Standings and odds by cohort, of shelves of which anything is known, replaced whole.

    catalogue
        Gives the one in force.
    """

    def __init__(
        self, client: "redis.Redis", catalogue: Callable[[], Catalogue], *, clock: Clock, poll_s: float
    ) -> None:
        self._found = Found(None, {}, {})
        self._client = client
        self._catalogue = catalogue
        self._clock = clock
        self._poll_s = poll_s
        self._times: dict[str, int] = {}
        self._counted: dict[str, Counted] = {}
        self._is_away = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="content-counts", daemon=True)

    @property
    def current(self) -> Mapping[str, Standing]:
        """The standings of the last look."""
        return self._found.standings

    def start(self) -> None:
        """Follow the statistics in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Follow them no longer."""
        self._stop.set()

    def standings(self, catalogue: Catalogue) -> Mapping[str, Standing]:
        """The current standings, if they are of this catalogue: they know items by their places."""
        found = self._found
        return found.standings if found.catalogue is catalogue else {}

    def odds(self, catalogue: Catalogue) -> Mapping[str, FormatOdds]:
        """Likewise the chances of formats to be the best."""
        found = self._found
        return found.odds if found.catalogue is catalogue else {}

    def look(self) -> None:
        """Read what has changed, make all standings. Raises redis.RedisError when the store does not answer."""
        catalogue = self._catalogue()
        for some in batched(sorted(catalogue.content_ids()), CHUNK):
            times = known_times(self._client, some)
            for gone in (c for c in some if c in self._counted and c not in times):  # the store was emptied
                del self._counted[gone], self._times[gone]
            changed = [c for c, known_us in times.items() if self._times.get(c) != known_us]
            self._counted |= {c: Counted.of(stats) for c, stats in read_content(self._client, changed).items()}
            self._times |= {c: times[c] for c in changed if c in self._counted}
            self._stop.wait(PACE_S)
        standings, odds, now_us = {}, {}, instant_us(self._clock.now_us())
        for cohort, shelf in catalogue.shelves.items():
            found = shelf_standing(shelf, self._counted, now_us)
            if found is not None:
                standings[cohort], odds[cohort] = found, shelf_odds(shelf, self._counted)
                self._stop.wait(PACE_S)
        self._found = Found(catalogue, standings, odds)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
                self._is_away = False
            except (redis.RedisError, OSError) as error:
                if not self._is_away:
                    log.warning("content statistics stay as they are, Redis does not answer: %s", error)
                self._is_away = True
            except Exception:  # the thread's edge: a look that fails must not be the last one
                log.exception("reading content statistics failed; they stay as they are")
            self._stop.wait(self._poll_s)


def shelf_standing(shelf: Shelf, counted: Mapping[str, Counted], now_us: int) -> Standing | None:
    """How a shelf stands at an instant; None when nothing is known of any of its items.

    counted
        By content_id; items without statistics are missing.
    now_us
        Not before the newest statistics.
    """
    if not any(item.content_id in counted for item in shelf.items):
        return None
    known = [counted.get(item.content_id, NOTHING) for item in shelf.items]
    totals = np.array([one.totals for one in known])
    found = standing(
        shelf.format,
        {name: totals[:, at] for at, name in enumerate(CONTENT_COUNTS)},
        opened_in_stage=np.array([one.opened for one in known]).T,
        opened_earlier={
            days: np.array([opened_earlier(one.openings, now_us, days) for one in known]) for days in RECENT_DAYS
        },
    )
    # Worked out once, here: whoever asks first would have to.
    assert found.columns.size
    assert found.by_popularity.size
    assert found.is_format.size
    return found


def shelf_odds(shelf: Shelf, counted: Mapping[str, Counted]) -> FormatOdds:
    """Which of a shelf's formats may be the best; `counted` as for `shelf_standing`."""
    known = [counted.get(item.content_id, NOTHING) for item in shelf.items]
    return format_odds(shelf, np.array([one.shown for one in known]).T, np.array([one.opened for one in known]).T)
