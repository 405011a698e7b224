"""What a model's scores are worth: a map from scores to probabilities, in plain numbers, beside the booster.

Training chooses and fits it (training/calibrate.py); serving reads calibration.json and applies it, with numpy alone.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from firstmile.errors import DataError, unknown_name

FloatArray = npt.NDArray[np.float64]
Method = Literal["none", "scaling", "isotonic"]
Curve = tuple[tuple[float, ...], tuple[float, ...]]

FILE: Final = "calibration.json"
CLIP: Final = 1e-6
"""Scores nearer to 0 or 1 count as this near: a logarithm needs it."""


@dataclass(frozen=True)
class Calibration:
    """One map for one model.

    method
        `none`: scores are probabilities. `scaling`: softmax of slope * log p + bias; with two classes that is Platt's
        sigmoid, with more temperature scaling with a bias per class. `isotonic`: each class's probability through a
        rising curve of straight pieces, then brought to sum 1; with two classes one curve, of class 1.
    slope, bias
        Of `scaling`; a bias per class.
    curves
        Of `isotonic`: (scores, probabilities) of the corners, scores rising.

    Sources: Platt, Probabilistic outputs for support vector machines, 1999; Zadrozny, Elkan, KDD 2002; Guo et al., On
    calibration of modern neural networks, ICML 2017.
    """

    method: Method = "none"
    slope: float = 1.0
    bias: tuple[float, ...] = ()
    curves: tuple[Curve, ...] = ()

    def apply(self, p: FloatArray) -> FloatArray:
        """Probabilities of scores, shape (n_rows, n_classes) both; rows sum to 1.

        >>> Calibration("scaling", 0.0, (0.0, 0.0)).apply(np.array([[0.1, 0.9]])).tolist()
        [[0.5, 0.5]]
        """
        if self.method == "scaling":
            z = self.slope * np.log(np.clip(p, CLIP, 1.0)) + np.array(self.bias)
            raised = np.exp(z - z.max(axis=1, keepdims=True))
            return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float64)
        if self.method == "isotonic" and p.shape[1] == 2:
            one = np.interp(p[:, 1], *self.curves[0])
            return np.column_stack([1.0 - one, one])
        if self.method == "isotonic":
            each = np.column_stack([np.interp(p[:, k], *curve) for k, curve in enumerate(self.curves)])
            return np.asarray(each / each.sum(axis=1, keepdims=True), np.float64)
        return p

    def as_json(self) -> str:
        """The file's text."""
        return json.dumps(asdict(self), indent=1)


NONE: Final = Calibration()


def read_calibration(text: str | bytes) -> Calibration:
    """The calibration of a file's text. Raises DataError when it is not one.

    >>> read_calibration(Calibration("isotonic", curves=(((0.0, 1.0), (0.2, 0.8)),)).as_json()).method
    'isotonic'
    """
    try:
        said: dict[str, Any] = json.loads(text)
        curves = tuple((tuple(map(float, xs)), tuple(map(float, ys))) for xs, ys in said["curves"])
        found = Calibration(said["method"], float(said["slope"]), tuple(map(float, said["bias"])), curves)
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{FILE} is not a calibration: {error!r}; train again") from error
    if found.method not in get_args(Method):
        raise DataError(f"{FILE}: {unknown_name('method', found.method, get_args(Method))}")
    return found
