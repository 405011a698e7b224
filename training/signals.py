"""Requests to retrain, as files: whoever sees a reason writes one, `firstmile retrain --watch` takes them by name.

Written elsewhere and renamed, so that a whole one is seen or none.

<home>/signals/retrain/<name>.json     {"because": "drift", "models": ["activation"], "reweigh": null}
<home>/signals/retrain/done/           taken, with what came of it
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from firstmile.clock import MICROS_PER_S

FOLDER: Final = Path("signals") / "retrain"
FIRST_WAIT_S: Final = 60.0
LONGEST_WAIT_S: Final = 3_600.0
MAX_TRIES: Final = 30
"""A day: who could not train by then cannot for another reason than that something is away."""


class Signal(BaseModel):
    """Why to retrain, which models (none named: all), and by which audited attribute to reweigh."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    because: str = Field(min_length=1)
    models: tuple[str, ...] = ()
    reweigh: str | None = None

    def words(self) -> list[str]:
        """As arguments of `firstmile retrain`."""
        words = ["--because", self.because]
        words += ["--model", ",".join(self.models)] if self.models else []
        return words + (["--reweigh", self.reweigh] if self.reweigh else [])


@dataclass
class Waits:
    """Until when each signal waits that could not be answered: longer each time, for MAX_TRIES times."""

    tried: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def is_over(self, file: Path, now_us: int) -> bool:
        """Whether it may be tried."""
        return now_us >= self.tried.get(file, (0, 0))[0]

    def longer(self, file: Path, now_us: int) -> float | None:
        """Let it wait twice as long as last time, FIRST_WAIT_S to LONGEST_WAIT_S; how long, or None after MAX_TRIES."""
        n_tries = self.tried.get(file, (0, 0))[1] + 1
        wait_s = min(FIRST_WAIT_S * 2 ** (n_tries - 1), LONGEST_WAIT_S)
        self.tried[file] = (now_us + int(wait_s * MICROS_PER_S), n_tries)
        return wait_s if n_tries < MAX_TRIES else None

    def forget(self, file: Path) -> None:
        """It was answered, or given up."""
        self.tried.pop(file, None)


def waiting(home: Path) -> list[tuple[Path, Signal | str]]:
    """Signals not taken yet, oldest first; for a file that is none, what is wrong with it."""
    found: list[tuple[Path, Signal | str]] = []
    for file in sorted((home / FOLDER).glob("*.json"), key=lambda file: (file.stat().st_mtime_ns, file.name)):
        try:
            found.append((file, Signal.model_validate_json(file.read_bytes())))
        except ValidationError as error:
            first = error.errors()[0]
            found.append((file, f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"))
    return found


def taken(file: Path, outcome: Any) -> None:
    """Put a signal away with what came of it."""
    done = file.parent / "done"
    done.mkdir(exist_ok=True)
    (done / f"{file.stem}.outcome.json").write_bytes(orjson.dumps(outcome))
    os.replace(file, done / file.name)
