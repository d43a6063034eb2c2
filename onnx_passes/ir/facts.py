"""What a compile asks of the passes: sizes, and how weights are stored.

The model object carries them, not its file: nothing that a file says is taken for a choice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from opencl_kernels.formats import Array, Quantized

_KEY = "pocket_facts"


@dataclass(frozen=True)
class Mask:
    """Which neurons of a feed-forward network are computed where one position is fed: those whose
    score B (A x) + bias is above the threshold.

    A [rank, D] and B [F, rank] in codes, bias f32[F] or None
    """

    A: Quantized
    B: Quantized
    bias: Array | None
    threshold: float


@dataclass(frozen=True)
class Density:
    """Which share of a feed-forward network is computed where one position is fed: the inputs and
    the hidden units of greatest magnitude (DIP).

    share  of its weights
    gamma  what the magnitude counts of what does not lie in memory
    """

    share: float
    gamma: float = 1.0


@dataclass(frozen=True)
class Facts:
    """Choices of a compile that passes depend on; the defaults are those of the command line."""

    context: int = 4096  # tokens that caches and rotary tables have room for
    chunk: int = 256  # tokens of a prefill step: short enough for a phone's screen
    batch: int = 1
    weights: str = "source"  # source, f32, f16 or e0m4
    group: int = 32  # e0m4: weights that share a scale
    symmetric: bool = False  # e0m4: no zero points
    keep: tuple[str, ...] = ()  # e0m4: weights that stay float, as PATTERN=f16 or PATTERN=f32
    records: bool = False  # whether weights of FFNs are to lie in flash, in records of neurons
    masks: tuple[Mask | None, ...] = ()  # of the networks in their order; None: all is computed
    densities: tuple[Density, ...] = ()  # of the networks in their order; one: of all
    cached: tuple[Array, ...] = ()  # of each, which inputs and units lie in memory; (): all
    refits: tuple[Callable[[], Array], ...] = ()  # of each, what its last matrix gets [F, D]
    computes: Callable[[ir.Node], bool] = lambda _: True  # whether kernels compute a node

    @classmethod
    def of(cls, model: ir.Model) -> Facts:
        """What was noted for the model, or the defaults."""
        found: Facts = model.meta.get(_KEY) or cls()
        return found

    def note(self, model: ir.Model) -> None:
        """Let passes that work on the model find these facts."""
        model.meta[_KEY] = self
