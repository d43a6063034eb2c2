"""The hardware simulator of DIP's authors (arXiv 2412.01380 and its public code), as it counts.

A model has static layers, which are placed in memory first, and linears whose columns are chosen:
those have caches of columns in what memory is left, the same bytes for each byte of a linear. A
token reads all that is static from memory, and of each linear what it hits from memory and what it
misses from flash. Nothing is computed, and a read takes as long as its bytes do.

Where |mask| is above a cache's room the authors fill it by chance; ours are filled by the policy's
own rank, so that a run can be repeated (toolkit/offload/record_cache.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from opencl_kernels.formats import Array
from toolkit.errors import PocketError

TYPES = ("attention", "embedding", "lm_head", "gate", "up", "down", "predictors")


@dataclass(frozen=True)
class Shape:
    """A decoder's sizes; `predictors`: numbers of all of them, where there are some."""

    hidden: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    predictors: int = 0

    def numbers(self, type_: str) -> float:
        """Of all layers of a type together."""
        ratio = self.kv_heads / self.heads
        return {
            "attention": (2 + 2 * ratio) * self.hidden**2 * self.layers,
            "embedding": float(self.hidden * self.vocabulary),
            "lm_head": float(self.hidden * self.vocabulary),
            "predictors": float(self.predictors),
        }.get(type_, float(self.hidden * self.ffn * self.layers))

    def cached(self, tokens: float) -> float:
        """Numbers of keys and values of so many tokens."""
        return 2 * self.kv_heads / self.heads * self.hidden * self.layers * tokens


@dataclass(frozen=True)
class Hardware:
    """Bytes and bytes a second; the authors' defaults are those of an Apple A18.

    concurrent  memory and flash are read side by side: the longer of the two counts, of what is
                static once and of each mask by itself
    overflow    what is static and does not fit is read from flash for every token; else it is
                an error
    """

    dram: float
    dram_rate: float = 60e9
    flash_rate: float = 1e9
    concurrent: bool = False
    overflow: bool = True


@dataclass(frozen=True)
class Setting:
    """What is static, how it is stored, and for how many tokens.

    static     some of TYPES. With `up` and `gate` among them it is their pruning of GLUs
    streamed   some of TYPES, that the prompt reads from flash once
    precision  bytes of a weight, and of a number of the KV cache
    prompt     tokens before the first that is decoded; `length`: with all that follow
    """

    static: tuple[str, ...] = ("attention", "embedding")
    streamed: tuple[str, ...] = ()
    precision: float = 0.5
    kv_precision: float = 1.0
    prompt: int = 0
    length: int = 2048

    def __post_init__(self) -> None:
        for type_ in (*self.static, *self.streamed):
            if type_ not in TYPES:
                hint = f"there are {', '.join(TYPES)}"
                raise PocketError(f"no layer is of type {type_:.40}", "none is simulated", hint)


@dataclass(frozen=True)
class Hook:
    """A mask: so many columns, each of `out` numbers in every one of `linears`."""

    name: str
    columns: int
    out: float
    linears: int = 1


@dataclass(frozen=True)
class Taken:
    """What a mask was of each token of a sequence: columns, and those in its cache before.

    reads_T  seconds of the flash, where these hang on more than bytes: the authors have none
    """

    hook: Hook
    chosen_T: Array
    hits_T: Array
    reads_T: Array | None = None


@dataclass(frozen=True)
class Rates:
    """Of some sequences: tokens a second, and hits by columns and by bytes."""

    tokens_per_s: float
    hit_rate: float  # the unweighted mean over linears and tokens; an empty mask counts as 1
    hit_rate_bytes: float
    seconds: tuple[float, ...] = field(default=())  # of a token, by sequence


@dataclass(frozen=True)
class Memory:
    """Bytes: what is static at full length, what a token reads of it, what masks choose from."""

    static: float
    read: float
    dynamic: float

    @classmethod
    def of(cls, shape: Shape, setting: Setting) -> Memory:
        """KV takes room for all tokens; what a token reads is the mean of the first and last."""
        weights = sum(map(shape.numbers, setting.static)) * setting.precision
        mean = (setting.prompt + setting.length) / 2
        full, read = (shape.cached(n) * setting.kv_precision for n in (setting.length, mean))
        chosen = [t for t in ("gate", "up", "down") if t not in setting.static]
        dynamic = sum(map(shape.numbers, chosen)) * setting.precision
        return cls(weights + full, weights + read, dynamic)


@dataclass(frozen=True)
class DipSimulator:
    """A model on hardware."""

    hardware: Hardware
    memory: Memory
    precision: float = 0.5

    def __post_init__(self) -> None:
        over = self.memory.static - self.hardware.dram
        if over > 0 and not self.hardware.overflow:
            because = f"static layers and the KV cache take {over:.0f} bytes more than there are"
            raise PocketError("they do not fit into memory", because, "give more, or overflow=True")

    @property
    def capacity(self) -> float:
        """C: the share of columns that lie in memory; below 0 what is static alone overflows."""
        if not self.memory.dynamic:
            return 1.0
        return (self.hardware.dram - self.memory.static) / self.memory.dynamic

    def slots(self, hook: Hook) -> int:
        """Columns of a linear that there is room for: all have the same share of bytes."""
        share = min(1.0, max(0.0, self.capacity))
        room = share * hook.columns * hook.out * self.precision
        return int(room * (1 + 1e-12) / (hook.out * self.precision))

    def fixed_s(self) -> float:
        """Seconds of a token for what is static."""
        streamed = max(0.0, self.memory.static - self.hardware.dram)
        return self._static_s(streamed, self.memory.read)

    def prompt_s(self, shape: Shape, setting: Setting) -> float:
        """Seconds to read a prompt: what is static from memory, and what is streamed from flash.

        Predictors are always among what is streamed: a slip of the authors' code (it looks for
        "predictor" in a list of "predictors") that is kept, so that figures can be compared.
        """
        weights = sum(map(shape.numbers, setting.static)) * setting.precision
        kv = shape.cached(setting.prompt) * setting.kv_precision
        types = dict.fromkeys((*setting.streamed, "predictors"))
        flash = sum(map(shape.numbers, types)) * setting.precision
        return self._static_s(flash, weights + kv)

    def hook_s(self, taken: Taken) -> Array:
        """Seconds of each token for a mask. Raises PocketError where no cache could hit so much."""
        self.check(taken)
        column = taken.hook.out * self.precision * taken.hook.linears
        reads = taken.reads_T
        if reads is None:
            reads = (taken.chosen_T - taken.hits_T) * column / self.hardware.flash_rate
        return self._both(reads, taken.hits_T * column / self.hardware.dram_rate)

    def rates(self, sequences: Sequence[Sequence[Taken]]) -> Rates:
        """Of sequences of tokens, each with its masks in all layers."""
        seconds = tuple(
            self.fixed_s() + float(np.mean(sum(self.hook_s(taken) for taken in sequence)))
            for sequence in sequences
        )
        shares, hit, all_ = list[float](), 0.0, 0.0
        for taken in (each for sequence in sequences for each in sequence):
            shares += [_share(taken)] * taken.hook.linears
            weight = taken.hook.out * taken.hook.linears
            hit += float(taken.hits_T.sum()) * weight
            all_ += float(taken.chosen_T.sum()) * weight
        rate = float(np.mean([1 / s for s in seconds]))
        return Rates(rate, float(np.mean(shares)), hit / all_ if all_ else 1.0, seconds)

    def best(self, hook: Hook, density: float, tokens: int = 1) -> Taken:
        """What a cache that always has what is needed would do: C / density of the columns."""
        chosen = density * hook.columns
        hits = min(chosen, max(0.0, min(1.0, self.capacity)) * hook.columns)
        return Taken(hook, np.full(tokens, chosen), np.full(tokens, hits))

    def check(self, taken: Taken) -> None:
        """Raise where a token hit more columns than lie in memory, or than it chose: a hit rate
        is at most C / density."""
        most = np.minimum(taken.chosen_T, max(0.0, self.capacity) * taken.hook.columns)
        over = taken.hits_T - most
        if (over > 1e-6 * taken.hook.columns).any():
            worst = int(over.argmax())
            what = f"{taken.hook.name} hits {taken.hits_T[worst]:g} columns at token {worst}"
            because = f"at most {most[worst]:g} of those it takes lie in memory"
            raise PocketError(what, because, "count hits before a token's own columns are cached")

    def _static_s(self, flash_bytes: float, dram_bytes: float) -> float:
        rates = self.hardware.flash_rate, self.hardware.dram_rate
        return float(self._both(flash_bytes / rates[0], dram_bytes / rates[1]))

    def _both(self, flash_s: Array | float, dram_s: Array | float) -> Array:
        return np.asarray(
            np.maximum(flash_s, dram_s) if self.hardware.concurrent else np.add(flash_s, dram_s)
        )


def hooks(shape: Shape, setting: Setting) -> list[Hook]:
    """The masks of one layer: up and gate share one, where they are not static."""
    shared = sum(type_ not in setting.static for type_ in ("gate", "up"))
    first = [Hook("inputs", shape.hidden, shape.ffn, shared)] if shared else []
    return [*first, Hook("downs", shape.ffn, shape.hidden)]


def _share(taken: Taken) -> float:
    """The mean of a linear's tokens."""
    empty = taken.chosen_T == 0
    shares = np.where(empty, 1.0, taken.hits_T / np.where(empty, 1, taken.chosen_T))
    return float(shares.mean())
