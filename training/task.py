"""What one model answers, and when: the classes, the days it learns from, the days it is judged on."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Task:
    """What a model answers: its classes in order, the days it learns from, the days it is judged on.

    judged_form
        Name of the label's second form, if gates go by that.
    threshold
        With two classes: the probability from which the answer counts as yes.
    activity_says
        With two classes: 1 when more activity can only speak for yes, -1 when only against it, 0 when either.
    question
        In words, for the model card.
    """

    classes: tuple[str, ...]
    snapshot_days: tuple[int, ...]
    evaluated_days: tuple[int, ...]
    judged_form: str = ""
    threshold: float = 0.5
    activity_says: int = 0
    question: str = ""


RANKING: Final = Task((), (0, 1, 3, 7, 14), (7, 14))
"""Of the content ranker, which answers with an order."""
