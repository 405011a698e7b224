"""Makes what models learn from out of the demo's tables: labels, vectors point in time, and the ranker's groups.

tables ─► labels ─► point-in-time vectors ─► sets, each step behind the data quality gate
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from examples.oulad.learning.history import choose, history_ends_us, refuse_future, whole
from examples.oulad.learning.labels import MARKING_DELAY_DAYS, label
from examples.oulad.learning.ranking import ranking_set
from examples.oulad.tables import tables as oulad
from firstmile.names import RANKER
from firstmile.settings import Settings
from firstmile.vocabulary import AUDIT_ATTRIBUTES
from training.material import Material, labelled_sets, store_of
from training.quality import QualityGate
from training.ranking_set import SNAPSHOT_DAYS
from training.slices import UNKNOWN
from training.steps import step
from training.tasks import TASKS


@dataclass(frozen=True)
class Tables:
    """The `source` of labels.yaml.

    folder
        Of labels.yaml.
    data
        Folder of the tables, from there.
    marking_delay_days
        From a hand-in to its score. Invented: the data does not say when a mark was known.
    """

    folder: Path
    data: str
    marking_delay_days: int = MARKING_DELAY_DAYS

    def material(
        self, settings: Settings, models: Sequence[str], quality: QualityGate, *, cohorts: Sequence[str] | None
    ) -> Material:
        """Of chosen presentations.

        Raises DataError when the history or the tables cannot carry it, GateError when the data does not hold.
        """
        tasks = [m for m in models if m in TASKS]
        last_day = max(day for m in models for day in (TASKS[m].snapshot_days if m in TASKS else SNAPSHOT_DAYS))
        ends_us = history_ends_us(settings)
        chosen = choose(ends_us, cohorts, last_day=last_day)
        data = self.folder / self.data
        with step("train: expectations of history and lake"):
            quality.check_sources(chosen, last_day=last_day)
        with step(f"train: labels of {', '.join(chosen)}"):
            tables = oulad.read(data, chosen)
            labelled = {m: label(m, tables, marking_delay_days=self.marking_delay_days) for m in tasks}
            refuse_future(labelled, ends_us, complete=whole(settings))
        with step("train: vectors, point in time"):
            store = store_of(settings, tasks or list(TASKS))
            sets = labelled_sets(store, labelled, {m: TASKS[m] for m in tasks})
        groups = None
        if RANKER in models:
            with step(f"train: groups of the {RANKER}"):
                groups = ranking_set(store, tables, data)
        return Material(chosen, sets, audit_of(tables), groups)


def audit_of(tables: oulad.OuladTables) -> pd.DataFrame:
    """The audit attributes by user_id, missing as `unknown`."""
    frame: pd.DataFrame = tables.info.select(["user_id", *AUDIT_ATTRIBUTES]).to_pandas()
    return frame.set_index("user_id").fillna(UNKNOWN)
