"""Another verb as a process of its own, with these settings."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from firstmile.settings import PREFIX, Settings, as_environment

_MAIN: Final = "from firstmile.cli import main; main()"


def verb(words: Sequence[str]) -> list[str]:
    """The command."""
    return [sys.executable, "-c", _MAIN, *words]


def environment(settings: Settings) -> Mapping[str, str]:
    """This process's own, with these settings: an MLflow's login and a bucket's keys are no settings of ours."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return {**own, **as_environment(settings)}
