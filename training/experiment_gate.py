"""What live traffic says of a version before it may become champion: the verdict of an experiment it was an arm of.

Who has analyzed an experiment writes the tag `experiment_verdict` on the registered version (in the MLflow UI or by its
client), a word and the reason: "worse: activation -2.1 % [-3.9, -0.4] in onboarding-v1, 4,120 users". Whether it has
answered anybody yet is in the last report of `firstmile monitor run`.
"""

import math
from pathlib import Path
from typing import Final

import orjson

from training.gates import Verdict

TAG: Final = "experiment_verdict"
REFUSES: Final = "worse"
WORDS: Final = ("better", "no difference", REFUSES)
GATE: Final = "experiment"


def experiment_gate(verdict: str | None, n_decisions: int | None) -> Verdict | None:
    """The verdict on a version that has met live traffic; None for one that, as far as is known, has not.

    verdict
        The version's tag.
    n_decisions
        As `decisions_of` gives it.

    >>> experiment_gate(None, 0) is None
    True
    >>> experiment_gate("worse: activation -2.1 %", None).passed
    False
    """
    live = math.nan if n_decisions is None else float(n_decisions)
    if verdict is None:
        if not n_decisions:
            return None
        text = f"it took part in {n_decisions:,} decisions, and no experiment has a verdict on it: not asked"
        return Verdict(GATE, True, live, math.nan, text)
    word = verdict.partition(":")[0].strip()
    if word not in WORDS:
        text = f"its tag {TAG} is {verdict!r}; one of {', '.join(WORDS)} was expected: analyze the experiment again"
        return Verdict(GATE, False, live, math.nan, text)
    text = f"live traffic says {verdict}"
    if word == REFUSES:
        text += "; promote another version, or end the experiment and train again"
    return Verdict(GATE, word != REFUSES, live, math.nan, text)


def decisions_of(reports: Path, model: str, version: str) -> int | None:
    """Decisions that a version took part in by the last report of monitoring; None without a report."""
    path = reports / "latest" / "summary.json"
    try:
        counted = orjson.loads(path.read_bytes())["decisions"]["models"]
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return int(counted.get(model, {}).get(version, 0))
