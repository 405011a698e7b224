"""The data quality gate of `firstmile train`: nothing is learned from data that does not hold what is expected of it.

history, lake ─► check_sources ─► (labels, vectors, sets) ─► check_sets ─► figures for the next run
                      └────────── suites ─► Great Expectations ─► Data Docs ┘
"""

import logging
import shutil
import warnings
from collections.abc import Sequence
from typing import Any, Final

import pandas as pd

from feature_repo.fields import PROFILE
from feature_repo.services import model_features
from firstmile.cli import console
from firstmile.clock import Clock, SystemClock, to_datetime
from firstmile.errors import GateError
from firstmile.names import RANKER
from firstmile.settings import Settings
from firstmile.vocabulary import read_profile
from training.cohorts import recorded
from training.expectations import (
    Suite,
    column_suite,
    extreme_suite,
    file_suite,
    group_suite,
    history_suite,
    label_suite,
    lake_suite,
    ranking_suite,
    set_suite,
    vector_suite,
)
from training.labels_file import read_labels
from training.quality_bounds import product_bounds, profile_types, read_bounds
from training.quality_files import column_types
from training.quality_history import history_figures, history_files, whole_history_figures
from training.quality_lake import LakeFiles, file_figures, lake_figures, lake_files
from training.quality_last import Kept, beside_last, figures_of, read_last, write_last
from training.quality_odd import Plausible, plausible
from training.quality_ranking import extreme_frame, ranking_figures
from training.quality_sets import Sets, groups, label_frame, set_figures, vector_frame
from training.ranking_set import RankingSet

Suites = dict[str, tuple[Suite, pd.DataFrame]]
"""By name: what is expected, and of what."""

LAST: Final = "last.json"
N_KEPT: Final = 10
"""Sites kept: each is 4 MB, nearly all of it Great Expectations' fonts and pictures."""
N_SAID: Final = 5
"""Failures an error spells out; the Data Docs have them all."""


class QualityGate:
    """The gate of one run: ask `check_sources` before anything is read, `check_sets` before anything is learned.

    Both raise GateError naming the expectations that do not hold, what was observed, what is allowed, and the page of
    the Data Docs. These are written by the check that fails or by the last one, under <home>/quality/<time of the run>.
    """

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        logging.getLogger("great_expectations").setLevel(logging.WARNING)  # it says of each thing that it loaded it
        with warnings.catch_warnings():
            # About what it imports itself. It also sends all warnings to the log from then on: leaving undoes that.
            warnings.simplefilter("ignore")
            from training.data_docs import DataDocs

        self.folder = settings.home / "quality"
        self._settings, self._bounds = settings, read_bounds(settings.training.quality)
        _, file = read_labels(settings.product_file("labels"))
        profile = read_profile(settings.product_file("profile"))
        self._bounds = product_bounds(self._bounds, {m: spec.shares for m, spec in file.specs.items()}, profile)
        self._calendar = recorded(settings.product)
        self._is_live = self._calendar is None
        self._last = read_last(self.folder / LAST)
        self._figures: Kept = {}
        self._starts: list[str] = []
        self._now_us = (clock or SystemClock()).now_us()
        moment = to_datetime(self._now_us)
        self._docs = DataDocs(self.folder / f"{moment:%Y-%m-%dT%H-%M-%S.%f}Z")
        self._lake = LakeFiles({}, [], 0)
        self._left_out: dict[str, int] = {}

    def check_sources(self, cohorts: Sequence[str], *, last_day: int) -> None:
        """The history of these recorded cohorts, or of everybody where none are recorded; and the lake if there is one.

        last_day
            The last day a snapshot is taken.

        Raises GateError, or DataError for files that cannot be read.
        """
        bounds, settings = self._bounds, self._settings
        self._starts = list(cohorts)
        self._lake = lake_files(settings.lake)
        suites: Suites = {}
        for view, types in {**bounds.history.columns, PROFILE: profile_types()}.items():
            if files := history_files(settings, view):
                suites[f"columns_{view}"] = (column_suite(types, exactly=True), column_types(files))
        if self._lake.noted:
            columns = column_types(self._lake.there)
            suites["columns_lake"] = (column_suite(bounds.lake.columns, exactly=False), columns)
        self._run(suites)  # first: without its columns there is nothing to sum up
        if self._calendar is None:
            history = whole_history_figures(settings)
        else:
            history = history_figures(settings, cohorts, self._calendar, last_day=last_day)
        history = beside_last(history, self._last)
        suites = {"history": (history_suite(bounds, grows=self._is_live), self._noted(history))}
        if self._lake.noted:
            lake = beside_last(lake_figures(self._lake, self._calendar, now_us=self._now_us), self._last)
            suites["lake_files"] = (file_suite(bounds), file_figures(self._lake))
            suites["lake"] = (lake_suite(bounds), self._noted(lake))
        self._run(suites)

    def plausible(self, sets: Sets, groups_of_ranker: RankingSet | None) -> Plausible:
        """The sets without the few users who have values that nobody can have; says how many there were.

        Raises DataError when the bounds say nothing of a feature.
        """
        found = plausible(sets, groups_of_ranker, self._bounds, ranker=RANKER)
        self._left_out = found.n_left_out
        if found.n_left_out:
            console.print(f"quality: {found.text()}", highlight=False, soft_wrap=True)
        return found

    def check_sets(self, sets: Sets, groups_of_ranker: RankingSet | None = None) -> None:
        """Training sets, by model, and the ranker's; when they hold, the next run is compared with this one's figures.

        Raises GateError, or DataError when the bounds say nothing of a feature.
        """
        suites: Suites = {}
        for models in groups(sets):
            suite = vector_suite(model_features(models[0]), self._bounds)
            suites["vectors_" + "_".join(models)] = (suite, vector_frame({m: sets[m] for m in models}))
        for model, data in sets.items():
            suites[f"labels_{model}"] = (label_suite(data.task), label_frame(data))
        if groups_of_ranker is not None:
            figures = beside_last(ranking_figures(groups_of_ranker, starts=self._starts), self._last)
            suites[f"groups_{RANKER}"] = (group_suite(), groups_of_ranker.groups)
            suites[f"vectors_{RANKER}"] = (extreme_suite(self._bounds), extreme_frame(groups_of_ranker))
            suites[f"sets_{RANKER}"] = (ranking_suite(self._bounds), self._noted(figures))
        if sets:  # the ranker alone has none of this shape
            of_sets = set_figures(sets, starts=self._starts, is_product=self._is_live)
            figures = beside_last(of_sets, self._last)
            suites["sets"] = (set_suite(list(sets), self._bounds, grows=self._is_live), self._noted(figures))
        self._run(suites)
        self._write_docs()
        write_last(self.folder / LAST, self._figures)
        console.print(f"quality: {self.text()}", highlight=False, soft_wrap=True)

    def text(self) -> str:
        """What was held, for people."""
        lake = f"{len(self._lake.noted)} lake files" if self._lake.noted else "no lake yet"
        return (
            f"{self._docs.n_expectations} expectations of {self._docs.n_suites} suites hold ({lake}), "
            f"Data Docs at {self._docs.index()}"
        )

    def report(self) -> dict[str, Any]:
        """What was held, for the verb's result."""
        return {
            "n_expectations": self._docs.n_expectations,
            "n_suites": self._docs.n_suites,
            "n_lake_files": len(self._lake.noted),
            "n_lake_files_left_out": self._lake.n_left_out,
            "n_odd_users_left_out": self._left_out,
            "data_docs": self._docs.index(),
        }

    def _noted(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame; its figures will be kept if all holds."""
        self._figures |= figures_of(frame)
        return frame

    def _run(self, suites: Suites) -> None:
        failures = [f for name, (suite, frame) in suites.items() for f in self._docs.run(name, suite, frame)]
        if failures:
            self._write_docs()
            last, bounds = self.folder / LAST, self._settings.training.quality
            more = f" | and {len(failures) - N_SAID} more" if len(failures) > N_SAID else ""
            raise GateError(
                f"{len(failures)} of {self._docs.n_expectations} expectations of the data do not hold, nothing was "
                f"trained. {' | '.join(f.text() for f in failures[:N_SAID])}{more}. "
                f"Data Docs: {self._docs.page(failures[0].suite)}. Correct the data; if it has a reason to be so, "
                f"change {bounds}, or delete {last} to compare with no earlier run"
            )

    def _write_docs(self) -> None:
        """This run's site; the oldest ones go."""
        self._docs.build()
        for old in sorted(path for path in self.folder.iterdir() if path.is_dir())[:-N_KEPT]:
            shutil.rmtree(old, ignore_errors=True)
