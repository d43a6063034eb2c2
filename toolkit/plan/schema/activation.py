"""Functions of one number as plans keep them: words, each behind what it takes.

    v Sigmoid v Mul        0.5 v Mul v 0.70710678 Mul Erf 1.0 Add Mul

Words are plain decimal numbers that a float can hold, v, and the names of FUNCTIONS; comparisons
are 1 or 0. android_runner/plan/unit.cpp has the same.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
MOST_WAITING, MOST_WORDS = 16, 256
NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_erf = np.vectorize(math.erf, otypes=[float])

FUNCTIONS: Mapping[str, tuple[int, Callable[..., Any]]] = {
    "Add": (2, np.add),
    "Sub": (2, np.subtract),
    "Mul": (2, np.multiply),
    "Div": (2, np.divide),
    "Max": (2, np.maximum),
    "Min": (2, np.minimum),
    "Neg": (1, np.negative),
    "Abs": (1, np.abs),
    "Exp": (1, np.exp),
    "Sigmoid": (1, lambda x: 1 / (1 + np.exp(-x))),
    "Tanh": (1, np.tanh),
    "Erf": (1, _erf),
    "Relu": (1, lambda x: np.maximum(x, 0.0)),
    "Less": (2, lambda a, b: 1.0 * np.less(a, b)),
    "LessOrEqual": (2, lambda a, b: 1.0 * np.less_equal(a, b)),
    "Greater": (2, lambda a, b: 1.0 * np.greater(a, b)),
    "GreaterOrEqual": (2, lambda a, b: 1.0 * np.greater_equal(a, b)),
    "Where": (3, lambda a, b, c: np.where(a != 0, b, c)),
}


def is_activation(text: str) -> bool:
    """Whether it says a number."""
    waiting, words = 0, text.split(" ")
    for word in words:
        taken = FUNCTIONS[word][0] if word in FUNCTIONS else 0
        if taken > waiting or (not taken and not _is_leaf(word)):
            return False
        waiting += 1 - taken
        if waiting > MOST_WAITING:
            return False
    return waiting == 1 and len(words) <= MOST_WORDS


def activated(text: str, v: Floats) -> Floats:
    """The function of each number."""
    waiting: list[Any] = []
    for word in text.split(" "):
        if word not in FUNCTIONS:
            waiting.append(v if word == "v" else float(word))
            continue
        arity, function = FUNCTIONS[word]
        taken = [waiting.pop() for _ in range(arity)][::-1]
        waiting.append(function(*taken))
    return np.broadcast_to(np.asarray(waiting[0], v.dtype), v.shape)


def _is_leaf(word: str) -> bool:
    if word == "v":
        return True
    with np.errstate(over="ignore"):
        return NUMBER.fullmatch(word) is not None and bool(np.isfinite(np.float32(float(word))))
