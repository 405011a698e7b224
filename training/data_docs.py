"""Suites run by Great Expectations, and its Data Docs: a page per suite, of what was expected and what was found.

The only module that loads Great Expectations, which takes seconds. Its context is in memory; only the pages are files.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import great_expectations as gx
import pandas as pd
from great_expectations.core import ExpectationSuite, RunIdentifier
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)

from training.expectations import Expectation

SITE: Final = "quality"
N_EXAMPLES: Final = 3
ABOUT: Final = ("column", "column_A", "column_B")
LABELS: Final = ("of", "file")
"""Columns that say what a row is, so that a row that does not hold is named."""


@dataclass(frozen=True)
class Failure:
    """An expectation that does not hold."""

    suite: str
    expectation: str
    column: str
    observed: str
    allowed: str

    def text(self) -> str:
        """One line for people."""
        return f"{self.suite}: {self.expectation} {self.column}: {self.observed}; allowed: {self.allowed}"


class DataDocs:
    """The suites run so far, and the site that shows them.

    folder
        Of the site; made by `build`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.n_suites = self.n_expectations = 0
        store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)}
        site = {"class_name": "SiteBuilder", "show_how_to_buttons": False, "store_backend": store}
        site["site_index_builder"] = {"class_name": "DefaultSiteIndexBuilder"}
        config = DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(),
            data_docs_sites={SITE: site},
            progress_bars=ProgressBarsConfig(globally=False),
            analytics_enabled=False,
        )
        self._context = gx.get_context(mode="ephemeral", project_config=config)

    def run(self, name: str, suite: Sequence[Expectation], frame: pd.DataFrame) -> list[Failure]:
        """Hold a frame against a suite; returns what does not hold, in the order of the suite."""
        given = [{"type": e.name, "kwargs": dict(e.arguments)} for e in suite]
        made = self._context.suites.add(ExpectationSuite(name, expectations=given))
        asset = self._context.data_sources.add_pandas(name).add_dataframe_asset("frame")
        data = asset.add_batch_definition_whole_dataframe("all rows")
        definition = self._context.validation_definitions.add(gx.ValidationDefinition(name=name, data=data, suite=made))
        labels = [label for label in LABELS if label in frame.columns]
        # Naming the rows costs a pass per expectation: where no column names them, the values are enough.
        detail = {"result_format": "SUMMARY", "unexpected_index_column_names": labels} if labels else "BASIC"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pandas, about Great Expectations' own code
            of = RunIdentifier(run_name=self.folder.name)
            found = definition.run(batch_parameters={"dataframe": frame}, result_format=detail, run_id=of)
        self.n_suites += 1
        self.n_expectations += len(suite)
        failures = [_failure(name, result) for result in found.results if not result.success]
        order = {(e.name, _column(e.arguments)): i for i, e in enumerate(suite)}
        return sorted(failures, key=lambda f: order[f.expectation, f.column])

    def build(self) -> None:
        """Write the pages of every suite run so far."""
        self._context.build_data_docs(site_names=[SITE])

    def index(self) -> str:
        """Address of the first page."""
        return (self.folder / "index.html").as_uri()

    def page(self, suite: str) -> str:
        """Address of the page that says what was found, once built."""
        return next((self.folder / "validations" / suite).rglob("*.html")).as_uri()


def _failure(suite: str, result: Any) -> Failure:
    arguments = dict(result.expectation_config.kwargs)
    observed = "could not be evaluated: the column is not there, or is of a type that cannot be compared"
    if result.result:
        observed = _observed(result.result, arguments)
    return Failure(suite, result.expectation_config.type, _column(arguments), observed, _allowed(arguments))


def _column(arguments: Mapping[str, Any]) -> str:
    return " and ".join(arguments[name] for name in ABOUT if name in arguments)


def _allowed(arguments: Mapping[str, Any]) -> str:
    limits = {k: v for k, v in arguments.items() if k not in (*ABOUT, "batch_id")}
    for name in ("column_list", "column_set"):
        if len(limits.get(name, ())) > N_EXAMPLES:
            limits[name] = f"of {len(limits[name])}"
    return ", ".join(f"{name} {value}" for name, value in limits.items()) or "none"


def _observed(result: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    expected = arguments.get("column_list") or arguments.get("column_set")
    if expected is not None and "observed_value" in result:
        missing = [c for c in expected if c not in result["observed_value"]]
        unexpected = [c for c in result["observed_value"] if c not in expected]
        return f"missing {missing}, not expected {unexpected}" if missing or unexpected else "another order"
    if "unexpected_count" not in result:
        return f"observed {result.get('observed_value')}"
    rows = result.get("partial_unexpected_index_list") or result["partial_unexpected_list"]
    examples = ", ".join(map(_example, rows[:N_EXAMPLES]))
    return f"{result['unexpected_count']} of {result['element_count']} rows, for example {examples}"


def _example(row: Any) -> str:
    """A value, or a row with what names it last."""
    if not isinstance(row, dict):
        return str(row)
    named = [label for label in LABELS if label in row]
    return " ".join([*(str(v) for k, v in row.items() if k not in named), "of", *(str(row[k]) for k in named)])
