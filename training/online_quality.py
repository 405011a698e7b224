"""How good an online model is, by asking it about each example before it learns it, and whether its error drifts.

The model asked has learned everything that closed before this example did: a little more than was there when the
decision was made, one window and allowance earlier.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from river import drift

from training.calibrate import row_losses
from training.evaluate import macro_auc
from training.figures import Figures


@dataclass(frozen=True)
class Drift:
    """The mean error of a model changed: |probability - outcome|, before and since."""

    before: float
    since: float

    @property
    def is_worse(self) -> bool:
        """Whether the error rose; it falls while a model learns what is new."""
        return self.since > self.before


@dataclass
class Quality:
    """The last answers of one model, and the changes of its error since it began.

    window
        How many answers the figures are taken over.
    """

    window: int
    n_drifts: int = 0
    n_drifts_worse: int = 0
    _answers: "deque[tuple[float, float, bool]]" = field(init=False)
    _n: int = 0
    _n_opened: int = 0
    _adwin: Any = field(default_factory=drift.ADWIN)

    def __post_init__(self) -> None:
        self._answers = deque(maxlen=self.window)

    def add(self, probability: float, is_opened: bool) -> Drift | None:
        """Take in an answer and what came of it; says when the error has drifted.

        Source: Bifet and Gavaldà, Learning from Time-Changing Data with Adaptive Windowing, 2007.
        """
        self._answers.append((probability, (self._n_opened + 1) / (self._n + 2), is_opened))
        self._n += 1
        self._n_opened += is_opened
        before = self._adwin.estimation
        self._adwin.update(abs(probability - is_opened))
        if not self._adwin.drift_detected:
            return None
        found = Drift(before, self._adwin.estimation)
        self.n_drifts += 1
        self.n_drifts_worse += found.is_worse
        return found

    def figures(self) -> Figures:
        """Over the last answers: n, base_rate, log_loss, log_loss_majority, auc, accuracy; NaN where undefined.

        log_loss_majority is of always answering the share of opens so far.
        """
        if not self._answers:
            return {"n": 0.0}
        p, share, y = (np.array(column) for column in zip(*self._answers, strict=True))
        return {
            "n": float(len(y)),
            "base_rate": float(y.mean()),
            "log_loss": _log_loss(p, y),
            "log_loss_majority": _log_loss(share, y),
            "auc": macro_auc(y.astype(np.int64), np.column_stack([1 - p, p])),
            "accuracy": float(np.mean((p >= 0.5) == y)),
        }


def _log_loss(p: Any, y: Any) -> float:
    return float(row_losses(np.column_stack([1 - p, p]), y.astype(np.int64)).mean())
