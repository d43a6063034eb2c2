"""How the next id is chosen: what a user may ask for, and the words that tell the device.

Order on the device: penalties, temperature, top-k, top-p, min-p, then a draw (sampling.clh).
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from opencl_kernels.sampling import sample
from toolkit.errors import PocketError

MOST_CANDIDATES = 256  # of top-k


@dataclass(frozen=True)
class Sampling:
    """Options of a text; by default it is greedy.

    temperature         0: the likeliest id; below 1 bolder, above 1 more even
    top_k               only the k likeliest ids, at most 256; 0: all
    top_p               only the fewest ids that together have this probability
    min_p               only ids with at least this share of the likeliest one's probability
    repetition_penalty  divides a positive logit of each id of the text, multiplies a negative one
    presence_penalty    is subtracted from the logit of each id of the text
    frequency_penalty   the same, once per occurrence
    seed                the same seed, text and options give the same ids; below 2^64
    window              penalties look at so many of the last tokens; 0: at all of them
    logprobs            keep each new id's log-probability, as the model gave it (no option applied)
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0
    window: int = 0
    logprobs: bool = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field.name, getattr(self, field.name))

    @property
    def greedy(self) -> bool:
        """Whether chance has no part in it."""
        return self.temperature == 0

    def words(self) -> npt.NDArray[np.int32]:
        """What the kernel reads."""
        return sample.packed_parameters(**dataclasses.asdict(self))


def checked_sampling(given: Any) -> Sampling:
    """What was given, greedy where that is None; anything else is no way to choose ids."""
    if given is None or isinstance(given, Sampling):
        return given or Sampling()
    because = f"it is of type {type(given).__name__}"
    hint = "toolkit.Sampling(temperature=0.8)"
    raise PocketError(f"{given!r:.60} does not say how to choose ids", because, hint)


LIMITS: dict[str, tuple[float, float]] = {
    "temperature": (0, 100),
    "top_k": (0, MOST_CANDIDATES),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "repetition_penalty": (0.01, 100),
    "presence_penalty": (-100, 100),
    "frequency_penalty": (-100, 100),
    "seed": (0, 2**64 - 1),
    "window": (0, 2**31 - 1),
    "logprobs": (0, 1),
}


SMALLEST = 0.001  # temperature: below it a quotient of logits is no longer a number


def _check(name: str, value: Any) -> None:
    low, high = LIMITS[name]
    whole = name in ("top_k", "seed", "window")
    number = isinstance(value, int if whole else int | float)
    number = number and (name == "logprobs" or not isinstance(value, bool))
    if not number or not low <= value <= high or (0 < value < SMALLEST and name == "temperature"):
        kind = "a whole number" if whole else "a number"
        hint = f"{kind} from {low:g} to {high:g}" if high < 2**31 else f"{kind} below {high + 1}"
        hint = f"0, or a number from {SMALLEST} to {high}" if name == "temperature" else hint
        raise PocketError(f"{name} {value!r:.40} is not possible", _reason(name), hint)


def _reason(name: str) -> str:
    reasons = {
        "temperature": "logits are divided by it; 0 takes the likeliest id",
        "top_k": f"it counts ids, at most {MOST_CANDIDATES}; 0 takes all",
        "top_p": "it is a probability; 1 takes all ids",
        "min_p": "it is a share of the likeliest id's probability; 0 takes all ids",
        "repetition_penalty": "logits are divided by it; 1 leaves them alone",
        "presence_penalty": "it is subtracted from logits; 0 leaves them alone",
        "frequency_penalty": "it is subtracted from logits; 0 leaves them alone",
        "seed": "it has 64 bits",
        "window": "it counts tokens; 0 means all of the text",
        "logprobs": "it is asked for or not",
    }
    return reasons[name]
