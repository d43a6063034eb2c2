"""A language model that is a table: logits = table[last id]. Only the choice of ids is at work.

The tables hold nothing that rounding could change, so that ids compare to the last one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from opencl_kernels import KERNELS, source_text
from opencl_kernels.case import symbol_header, symbols_of_texts
from opencl_kernels.sampling.sample import Choice, choose, packed_parameters
from opencl_kernels.tuned import default_knobs
from toolkit.compiler.memory.phases import place_phase
from toolkit.plan.expr import symbol
from toolkit.plan.schema import (
    Buffer,
    Dispatch,
    HostStep,
    Phase,
    Plan,
    Program,
    Ref,
    Scratch,
    SymbolDecl,
    Variant,
)
from toolkit.plan.write import WeightSource, write_plan

V, CONTEXT, CHUNK = 1003, 260, 8
SEQ, ROWS = symbol("seq"), symbol("rows")
LOOK_UP = """
__kernel void look_up(__global const int *sym, __global const int *tokens,
                      __global const float *table, __global float *logits) {
  const int r = get_global_id(0), id = clamp(tokens[SEQ - ROWS + r], 0, V - 1);
  for (int v = 0; v < V; v++) logits[r * V + v] = table[id * V + v];
}
"""
NAMES = ("tokens", "ids", "logits", "sampling", "logprobs")


def table() -> np.ndarray:
    """Logits [V, V] by last id: of a spread that leaves some hundred ids in play."""
    return (2 * np.random.default_rng(5).standard_normal((V, V))).astype(np.float32)


def continued(logits: np.ndarray, prompt: list[int], count: int, **options: Any) -> list[int]:
    """What numpy writes after a prompt."""
    text, packed = list(prompt), packed_parameters(**options)
    for _ in range(count):
        text.append(choose(logits[text[-1]], packed, np.array(text, np.int32)))
    return text[len(prompt) :]


def write_bigram(out: Path, logits: np.ndarray, kernel: str = "sample_cpu") -> None:
    """The plan, with the sample kernel of either class."""
    sizes = [("tokens", "input", "i32", (SEQ,), CHUNK), ("ids", "output", "i32", *of(CONTEXT + 1))]
    sizes += [("logits", "output", "f32", (ROWS, V), CHUNK * V)]
    sizes += [
        ("sampling", "input", "i32", *of(16)),
        ("logprobs", "output", "f32", *of(CONTEXT + 1)),
    ]
    facts = {"kind": "language-model", "batch": 1, "vocab_size": V, "max_context": CONTEXT}
    bounds = {"seq": (1, CHUNK), "past": (0, CONTEXT), "rows": (1, CHUNK), "start": (0, CONTEXT)}
    symbols = tuple(
        SymbolDecl(s.name, "input", *bounds[s.name], s.slot, s.length) for s in symbols_of_texts(1)
    )
    header = tuple(symbol_header(symbols).items())
    case = Choice(M=1, V=V, C=CONTEXT)
    knobs = default_knobs(KERNELS[kernel], "cpu")
    defines = KERNELS[kernel].defines(case, knobs)
    plan = Plan(
        generator="by hand",
        model={**facts, "prefill_chunk": CHUNK, "eos": []},
        profile={"name": "pocl", "class": "cpu", "align": 128},
        symbols=symbols,
        buffers=tuple(Buffer(n, k, d, shape, 4 * count) for n, k, d, shape, count in sizes),
        states=(),
        weights=(),
        files=(),
        programs=(
            Program("kernels/look_up.cl", "look_up", (*header, ("V", str(V)))),
            Program(
                f"kernels/{kernel}.cl",
                kernel,
                (*header, *((name, str(value)) for name, value in defines.items())),
            ),
        ),
        phases=(),
    )
    phases = tuple(
        place_phase(p, plan.box(), 128) for p in phases_of(*KERNELS[kernel].grid(case, knobs))
    )
    source = WeightSource("table", "f32", "plain", (V, V), logits.nbytes, lambda: iter([logits]))
    texts = {f"kernels/{kernel}.cl": source_text(f"{kernel}.cl"), "kernels/look_up.cl": LOOK_UP}
    write_plan(out, Plan(**{**vars(plan), "phases": phases}), [source], texts, {})


def of(count: int) -> tuple[tuple[int], int]:
    """Shape and size of a vector."""
    return (count,), count


def phases_of(size: Any, local: Any) -> Iterator[Phase]:
    tokens, ids, logits, sampling, logprobs = (("buffer", i) for i in range(5))
    look: tuple[Ref, ...] = (("symbols",), tokens, ("weight", 0), logits)
    pick: tuple[Ref, ...] = (("symbols",), logits, sampling, tokens, ("scratch", 0), ids, logprobs)
    for name, longest in (("prefill", CHUNK), ("decode", 1), ("score", CHUNK)):
        rows = longest if name == "score" else 1
        scored = name == "score"
        steps: list[Any] = [Dispatch(0, "logits", look, (3,), (Variant(0, (ROWS,), (1,)),))]
        if not scored:
            chosen = Variant(1, tuple(size), tuple(local))
            steps += [Dispatch(0, "next id", pick, (0, 3, 4, 5, 6), (chosen,))]
        steps += [HostStep("fetch", (logits if scored else ids,))]
        scratch = () if scored else (Scratch("counts", "i32", (V,), 4 * V),)
        bounds = {"seq": (1, longest), "rows": (1, rows)}
        yield Phase(name, "bigram", bounds, name == "decode", scratch, tuple(steps))
