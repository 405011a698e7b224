"""Asking for retraining: a report that finds drift over its bound leaves a file that `firstmile retrain --watch` takes.

<home>/signals/retrain/drift-<model>-<version>.json     {"because": "…", "models": ["activation"]}

One per champion: while it waits, or once it was taken (done/), the same drift asks no second time; a new champion may.
Written elsewhere and renamed, so that a whole one is seen or none.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

FOLDER: Final = Path("signals") / "retrain"
N_NAMED: Final = 3


def ask_to_retrain(home: Path, summary: Mapping[str, Any], *, at_share: float) -> list[Path]:
    """Write a signal for each champion of which at least this share of the columns drifted; those written now.

    summary
        As `summary.summarize` gives it.
    at_share
        0 … 1; 0: never.
    """
    written = []
    for model, found in summary["models"].items():
        if at_share <= 0 or found["share_drifted"] < at_share:
            continue
        file = home / FOLDER / f"drift-{model}-{found['version']}.json"
        if file.exists() or (file.parent / "done" / file.name).exists():
            continue
        _write(file, {"because": because(model, found), "models": [model]})
        written.append(file)
    return written


def because(model: str, found: Mapping[str, Any]) -> str:
    """The reason in words, the columns that moved furthest named.

    >>> because("activation", {"version": "3", "n_drifted": 1, "n_columns": 2, "drifted": [{"column": "n_pages"}]})
    'drift: 1 of 2 columns of activation 3, furthest n_pages'
    """
    furthest = ", ".join(column["column"] for column in found["drifted"][:N_NAMED])
    drifted = f"{found['n_drifted']} of {found['n_columns']} columns"
    return f"drift: {drifted} of {model} {found['version']}, furthest {furthest}"


def _write(file: Path, signal: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.stem}.{os.getpid()}.part")
    unfinished.write_bytes(orjson.dumps(signal))
    unfinished.replace(file)
