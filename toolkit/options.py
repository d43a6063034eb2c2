"""What is chosen once per compile: sizes and storage types."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.errors import PocketError
from toolkit.source import Source

CONTEXT = 4096  # tokens; a default, where the model's own context is not smaller
CHUNK = 256  # tokens of a prefill step: short enough for a phone's screen
CPU_CHUNK = 512  # there is no screen to wait for, and weights are read less often


@dataclass(frozen=True)
class Options:
    """Everything that a plan depends on besides its model and device; kept in the plan."""

    context: int
    chunk: int
    weights: str  # "source", "f32", "f16"
    activations: str
    kv: str
    batch: int = 1


def choose(
    source: Source,
    profile: Mapping[str, Any],
    weights: str = "source",
    max_context: int | None = None,
    prefill_chunk: int | None = None,
    activations: str | None = None,
    kv: str | None = None,
    batch: int = 1,
) -> Options:
    """The options of a compile; None takes the default for this model and device class."""
    for name, value in (("--max-context", max_context), ("--prefill-chunk", prefill_chunk)):
        if value is not None and value < 1:
            raise PocketError(
                f"{name} {value} leaves no room", "it counts tokens", f"{name} {CHUNK}"
            )
    context = _context(source, max_context)
    default = "f32" if profile["class"] == "cpu" else "f16"
    usual = CPU_CHUNK if profile["class"] == "cpu" else CHUNK
    chunk = min(prefill_chunk or usual, context)
    return Options(context, chunk, weights, activations or default, kv or default, batch)


def _context(source: Source, wanted: int | None) -> int:
    limit = source.generation.get("max_context")
    if wanted is not None and limit is not None and wanted > limit:
        raise PocketError(
            f"a context of {wanted} tokens is more than this model has",
            f"its own limit is {limit}",
            f"--max-context {limit} or less",
        )
    return wanted or min(limit or CONTEXT, CONTEXT)
