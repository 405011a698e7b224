"""What each model answers, and when: the classes, the days it learns from, the days it is judged on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from firstmile.names import CLASSES


@dataclass(frozen=True)
class Task:
    """What a model answers: its classes in order, the days it learns from, the days it is judged on.

    judged_form
        Name of the label's second form, if gates go by that.
    threshold
        With two classes: the probability from which the answer counts as yes.
    activity_says
        With two classes: 1 when more activity can only speak for yes, -1 when only against it.
    question
        In words, where a labels file asks it; empty: card.py has the words.
    """

    classes: tuple[str, ...]
    snapshot_days: tuple[int, ...]
    evaluated_days: tuple[int, ...]
    judged_form: str = ""
    threshold: float = 0.5
    activity_says: int = 0
    question: str = ""


# activation stops before day 19, when the assessment is due: past it only late hand-ins are left, another question.
TASKS: Final[Mapping[str, Task]] = {
    "activation": Task(("no", "yes"), (0, 1, 3, 7, 14), (3, 7, 14), activity_says=1),
    "disengagement": Task(("no", "yes"), (0, 1, 3, 7, 14, 28), (7, 14, 28), activity_says=-1),
    "skill_level": Task(CLASSES["skill_level"], (0, 1, 3, 7, 14, 28), (14, 28), judged_form="later_marks"),
    # Days N+1 … 2N: on day 0 they are none.
    "preference": Task(CLASSES["preference"], (1, 3, 7, 14, 28), (14, 28)),
}

RANKING: Final = Task((), (0, 1, 3, 7, 14), (7, 14))
"""Of the content ranker, which answers with an order."""
