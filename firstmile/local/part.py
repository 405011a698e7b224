"""What the embedded stack knows of each of its parts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from firstmile.local.process import Program
from firstmile.settings import Part, Settings


@dataclass(frozen=True)
class EmbeddedPart:
    """One part: how to run it here, and how to ask whether it works, here or elsewhere.

    program
        Prepares the part's data folder and says what to run.
    problem
        None when the part answers at its address, else what is wrong; takes a second at most.
    address
        Where it is, without secrets.
    ports
        (name of the setting, port) of every port it listens on when embedded.
    setting
        The variable that names another address.
    """

    name: Part
    program: Callable[[Settings], Program]
    problem: Callable[[Settings], str | None]
    address: Callable[[Settings], str]
    ports: Callable[[Settings], list[tuple[str, int]]]
    setting: str


def data_folder(settings: Settings, part: str) -> Path:
    """Where a part keeps its data; made when missing."""
    folder = settings.home / "data" / part
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def log_file(settings: Settings, name: str) -> Path:
    """Where a process writes what it says."""
    return settings.logs / f"{name}.log"
