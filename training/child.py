"""Another verb as a process of its own, with these settings."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from firstmile.settings import Settings, as_environment

_MAIN: Final = "from firstmile.cli import main; main()"
_INHERITED: Final = ("PATH", "PYTHONPATH", "HOME", "JAVA_HOME")


def verb(words: Sequence[str]) -> list[str]:
    """The command."""
    return [sys.executable, "-c", _MAIN, *words]


def environment(settings: Settings) -> Mapping[str, str]:
    """The settings, and what a child needs beside them: where programs and packages are."""
    return {**{name: os.environ[name] for name in _INHERITED if name in os.environ}, **as_environment(settings)}
