"""Few rows through a booster by XGBoost's C API: what `inplace_predict` does, without its questions about the input.

`inplace_predict` asks what kind of data it was given, makes two JSON texts and builds an array from a description of
one; below it the library makes a matrix for every call, which reads the machine's limits from files, and for a dense
row it compiles a regular expression. The trees take a tenth of all that. Here the kind is known, most of the texts
never change, every thread keeps its matrix, and rows are given as sparse ones that have every value.
"""

import ctypes
import json
import logging
import threading
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from xgboost import Booster
from xgboost.libpath import find_lib_path

log = logging.getLogger(__name__)

Rows = NDArray[np.float32]
Scores = NDArray[np.float32]
Scorer = Callable[[Rows], Scores]
"""Scores of rows of shape (n_rows, n_features): shape (n_rows, n_classes), or (n_rows, 1) for a model of one score."""

_CONFIG: Final = json.dumps(
    {
        "type": 0,
        "training": False,
        "iteration_begin": 0,
        "iteration_end": 0,
        "missing": float("nan"),
        "strict_shape": False,
        "cache_id": 0,
    }
).encode()


def scorer(booster: Booster) -> Scorer:
    """The fast way when it gives what `inplace_predict` gives, bit for bit, else `inplace_predict` itself.

    Like that, safe in several threads: the result lies in memory that XGBoost keeps per thread, and is copied.
    """
    if not isinstance(booster, Booster):
        return lambda rows: _slow(booster, rows)
    probe = np.linspace(-1.0, 60.0, booster.num_features(), dtype=np.float32)[None]
    try:
        fast = _fast(booster, _library(ctypes.CDLL))
        is_same = np.array_equal(fast(probe), _slow(booster, probe))
    except (OSError, AttributeError, ValueError) as error:
        log.warning("XGBoost's C API cannot be called, scoring by inplace_predict: %s", error)
        return lambda rows: _slow(booster, rows)
    return fast if is_same else lambda rows: _slow(booster, rows)


def holding(scores: Scorer) -> Scorer | None:
    """The same fast way keeping the interpreter's lock, for a loop that would wait anyway; None for the slow one.

    To give the lock up for trees of some 20 µs is to queue for it behind whoever else runs, once for every model. It is
    not for trees that take long: nobody else runs meanwhile.
    """
    booster = getattr(scores, "keeps", None)
    return None if booster is None else _fast(booster, _library(ctypes.PyDLL))


def _slow(booster: Booster, rows: Rows) -> Scores:
    return np.asarray(booster.inplace_predict(rows), np.float32).reshape(len(rows), -1)


def _fast(booster: Booster, library: Any) -> Scorer:
    handle = booster.handle
    n_features = booster.num_features()
    forms: dict[int, _Form] = {}

    def score(rows: Rows) -> Scores:
        n = len(rows)
        if rows.shape != (n, n_features) or rows.dtype != np.float32 or not rows.flags.c_contiguous:
            raise ValueError(f"rows of {rows.shape} {rows.dtype} for a booster of (n, {n_features}) float32")
        form = forms.get(n) or forms.setdefault(n, _Form(n, n_features))
        shape, n_dims, found = ctypes.POINTER(ctypes.c_uint64)(), ctypes.c_uint64(), ctypes.POINTER(ctypes.c_float)()
        code = library.XGBoosterPredictFromCSR(
            handle,
            form.bounds,
            form.columns,
            _described(rows, b"<f4"),
            n_features,
            _CONFIG,
            _matrices.of_thread(library),
            ctypes.byref(shape),
            ctypes.byref(n_dims),
            ctypes.byref(found),
        )
        _refuse(library, code)
        width = shape[1] if n_dims.value > 1 else 1
        return np.array(found[: n * width], np.float32).reshape(n, width)

    score.keeps = booster  # type: ignore[attr-defined]  # the handle lives as long
    return score


class _Form:
    """What XGBoost is told of n rows that have every value: where each begins, and which columns follow."""

    def __init__(self, n_rows: int, n_features: int) -> None:
        self._bounds = np.arange(n_rows + 1, dtype=np.uint64) * np.uint64(n_features)
        self._columns = np.tile(np.arange(n_features, dtype=np.uint32), n_rows)
        self.bounds, self.columns = _described(self._bounds, b"<u8"), _described(self._columns, b"<u4")


def _described(values: NDArray[Any], kind: bytes) -> bytes:
    """Where an array lies, as XGBoost is told: numpy's array interface in JSON."""
    return b'{"data":[%d,true],"shape":[%d],"typestr":"%s","version":3}' % (values.ctypes.data, values.size, kind)


class _Matrix:
    """A place for XGBoost to look at a row; freed with the thread it belongs to."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self.handle = ctypes.c_void_p()
        _refuse(library, library.XGProxyDMatrixCreate(ctypes.byref(self.handle)))

    def __del__(self) -> None:
        self._library.XGDMatrixFree(self.handle)


class _Matrices(threading.local):
    matrix: _Matrix | None = None

    def of_thread(self, library: Any) -> ctypes.c_void_p:
        """This thread's matrix: two threads must not look at one."""
        if self.matrix is None:
            self.matrix = _Matrix(library)
        return self.matrix.handle


_matrices = _Matrices()


def _refuse(library: Any, code: int) -> None:
    if code:
        raise ValueError(library.XGBGetLastError().decode(errors="replace"))


def _library(load: type[ctypes.CDLL]) -> Any:
    """XGBoost's library, loaded already; ours to describe, so that nobody else's description changes."""
    library = load(find_lib_path()[0])
    library.XGBoosterPredictFromCSR.argtypes = [
        ctypes.c_void_p,  # booster
        *(ctypes.c_char_p,) * 3,  # where each row begins, columns, values
        ctypes.c_uint64,
        ctypes.c_char_p,  # what to predict
        ctypes.c_void_p,  # matrix
        ctypes.POINTER(ctypes.POINTER(ctypes.c_uint64)),
        ctypes.POINTER(ctypes.c_uint64),
        ctypes.POINTER(ctypes.POINTER(ctypes.c_float)),
    ]
    library.XGProxyDMatrixCreate.argtypes = [ctypes.POINTER(ctypes.c_void_p)]
    library.XGDMatrixFree.argtypes = [ctypes.c_void_p]
    library.XGBGetLastError.restype = ctypes.c_char_p
    return library
