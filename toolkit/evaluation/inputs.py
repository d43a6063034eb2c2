"""Inputs of an evaluation: the plan's source model, token ids, and the protocol of a scorer."""

from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from toolkit.compiler.calibration.reference import Choices
from toolkit.errors import PocketError
from toolkit.plan.schema import Plan

Logits: TypeAlias = npt.NDArray[np.float32]


class Scorer(Protocol):
    """ONNX Runtime on a graph, with its own KV cache."""

    choices: list[Choices]  # of experts, for the tokens in the cache
    notes: list[str]  # how the run differs from the graph as it was exported

    def reset(self) -> None:
        """Empty the cache."""

    def score(self, ids: list[int]) -> Logits:
        """Append ids to the cache; logits [len(ids), V]."""

    def feed(self, ids: list[int]) -> Logits:
        """The same in one call; logits [len(ids), V], or [1, V] of the last id."""


def source_of(plan: Plan, model: Path | None) -> Any:
    """The model that the plan was compiled from, unchanged, or the one that the user names."""
    from toolkit.compiler.source import load_source
    from toolkit.plan.origin import origin_of

    recorded = origin_of(plan)
    path = model or Path(recorded.path)
    if model is None and not path.exists():
        raise PocketError(
            f"the plan's model is not at {path}",
            "a plan records the path of its model and doesn't contain it",
            "pass the model with --model SRC",
        )
    lora = Path(recorded.lora) if recorded.lora else None
    source = load_source(path, lora if lora is None or model is None or lora.exists() else None)
    if lora is not None and model is not None and source.sha256 != recorded.sha256:
        return load_source(path, None)  # another model may have the adapter in its weights
    if model is None and source.sha256 != recorded.sha256:
        raise PocketError(
            f"{path} has changed since the plan was compiled",
            f"SHA-256 {source.sha256[:12]}… now, {recorded.sha256[:12]}… then",
            "compile it again, or compare with it anyway: --model SRC",
        )
    return source


def random_ids(plan: Plan, count: int, seed: int = 0) -> list[int]:
    """Random ids over the whole vocabulary; a smaller count gives a prefix of a larger one."""
    generator = np.random.default_rng(seed)
    return [int(i) for i in generator.integers(0, int(plan.model["vocab_size"]), count)]
