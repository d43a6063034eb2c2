"""A language model of whole numbers, made by hand: its plan, and the same model in numpy.

x = table[id]; the state keeps x; y = sum over j <= position of state[j] * weight(j);
logits = y head. All values are small integers, so that float32 is exact and argmax can be
compared to the last bit.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolkit.compiler.memory.phases import place_phase
from toolkit.plan.expr import symbol
from toolkit.plan.schema import (
    Buffer,
    Dispatch,
    HostStep,
    Phase,
    Plan,
    Program,
    Scratch,
    State,
    SymbolDecl,
    Variant,
)
from toolkit.plan.write import WeightSource, write_plan

V, D, CONTEXT, CHUNK = 23, 8, 40, 5
SEQ, PAST, ROWS = symbol("seq"), symbol("past"), symbol("rows")

SOURCE = """
__kernel void embed(__global const int *sym, __global const int *tokens,
                    __global const float *table, __global float *x) {
  const int i = get_global_id(0);
  const int id = clamp(tokens[i], 0, V - 1);    // -1 where the step before had no numbers
  for (int d = 0; d < D; d++) x[i * D + d] = table[id * D + d];
}
__kernel void keep(__global const int *sym, __global const float *x, __global float *state) {
  const int i = get_global_id(0);
  for (int d = 0; d < D; d++) state[(sym[1] + i) * D + d] = x[i * D + d];
}
__kernel void sums(__global const int *sym, __global const float *state, __global float *y) {
  const int i = get_global_id(0), d = get_global_id(1);
  float sum = 0;
  for (int j = 0; j <= sym[1] + i; j++) sum += state[j * D + d] * (1 + (j * 7 + d) % 3);
  y[i * D + d] = sum;
}
__kernel void head(__global const int *sym, __global const float *y,
                   __global const float *weight, __global float *logits) {
  const int r = get_global_id(0), row = sym[0] - sym[2] + r;
  for (int v = 0; v < V; v++) {
    float sum = 0;
    for (int d = 0; d < D; d++) sum += y[row * D + d] * weight[d * V + v];
    logits[r * V + v] = sum;
  }
}
__kernel void argmax(__global int *sym, __global const float *logits, __global int *tokens,
                     __global int *ids) {
  int best = 0;
  for (int v = 1; v < V; v++) if (logits[v] > logits[best]) best = v;
  if (!(fabs(logits[best]) < INFINITY)) best = -1;
  tokens[0] = best;
  ids[sym[1] + sym[0]] = best;
  sym[1] += sym[0];
}
"""
KERNELS = ("embed", "keep", "sums", "head", "argmax")
TOKENS, IDS, LOGITS, STATE = (("buffer", i) for i in range(4))
SYM = ("symbols",)


class Toy:
    """The model in numpy; `feed` answers with logits [n, V] and keeps what it was fed."""

    def __init__(self) -> None:
        random = np.random.default_rng(7)
        self.table = random.integers(-3, 4, (V, D)).astype(np.float32)
        self.head = random.integers(-3, 4, (D, V)).astype(np.float32)
        self.ids: list[int] = []

    def feed(self, ids: list[int], past: int) -> np.ndarray:
        self.ids = self.ids[:past] + list(ids)
        state = self.table[self.ids]
        j, d = np.ogrid[: len(self.ids), :D]
        y = np.cumsum(state * (1 + (j * 7 + d) % 3), axis=0)
        return (y @ self.head)[past:]

    def greedy(self, token: int, past: int, count: int) -> list[int]:
        found = []
        for i in range(count):
            token = int(self.feed([token], past + i)[-1].argmax())
            found.append(token)
        return found


def dispatch(name: str, args: list[Any], writes: list[int], grid: tuple[Any, ...]) -> Dispatch:
    variant = Variant(KERNELS.index(name), grid, (1,) * len(grid))
    return Dispatch(0, name, tuple(args), tuple(writes), (variant,))


def toy_phase(name: str, seq: tuple[int, int], rows: tuple[int, int]) -> Phase:
    x, y, spare = ("scratch", 0), ("scratch", 1), ("scratch", 2)
    weight = [("weight", 0), ("weight", 1)]
    steps: list[Any] = [
        dispatch("embed", [SYM, TOKENS, weight[0], x], [3], (SEQ,)),
        dispatch("keep", [SYM, x, STATE], [2], (SEQ,)),
        dispatch("sums", [SYM, STATE, y], [2], (SEQ, D)),
        dispatch("sums", [SYM, STATE, spare], [2], (SEQ * (PAST // CONTEXT), D)),  # size zero
        dispatch("head", [SYM, y, weight[1], LOGITS], [3], (ROWS,)),
    ]
    if name == "score":
        steps += [HostStep("fetch", (LOGITS,))]
    else:
        steps += [dispatch("argmax", [SYM, LOGITS, TOKENS, IDS], [0, 2, 3], (1,))]
        steps += [HostStep("fetch", (IDS,))]
    scratch = tuple(Scratch(n, "f32", (SEQ, D), SEQ * D * 4) for n in ("x", "y", "spare"))
    return Phase(name, "toy", {"seq": seq, "rows": rows}, name == "decode", scratch, tuple(steps))


def toy_plan() -> Plan:
    model = {
        "kind": "language-model",
        "batch": 1,
        "vocab_size": V,
        "max_context": CONTEXT,
        "prefill_chunk": CHUNK,
        "eos": [2],
    }
    plan = Plan(
        generator="pocketcl 0.1.0",
        model=model,
        profile={"name": "pocl", "class": "cpu", "align": 128},
        symbols=(
            SymbolDecl("seq", "input", 1, CHUNK, 0),
            SymbolDecl("past", "input", 0, CONTEXT - 1, 1),
            SymbolDecl("rows", "input", 1, CHUNK, 2),
            SymbolDecl("start", "input", 0, CONTEXT - 1, 3, 1),
        ),
        buffers=(
            Buffer("tokens", "input", "i32", (CHUNK,), 4 * CHUNK),
            Buffer("ids", "output", "i32", (CONTEXT + 1,), 4 * (CONTEXT + 1)),
            Buffer("logits", "output", "f32", (ROWS, V), 4 * CHUNK * V),
            Buffer("layers.0.k", "state", "f32", (CONTEXT, D), 4 * CONTEXT * D),
        ),
        states=(State(3, "layers.0", "k", "append", 0, CONTEXT),),
        weights=(),
        files=(),
        programs=tuple(
            Program("kernels/toy.cl", k, (("D", str(D)), ("V", str(V)))) for k in KERNELS
        ),
        phases=(),
    )
    phases = [
        toy_phase("prefill", (1, CHUNK), (1, 1)),
        toy_phase("decode", (1, 1), (1, 1)),
        toy_phase("score", (1, CHUNK), (1, CHUNK)),
    ]
    placed = tuple(place_phase(p, plan.box(), 128) for p in phases)
    return Plan(**{**vars(plan), "phases": placed})


def toy_sources() -> list[WeightSource]:
    toy = Toy()
    return [
        WeightSource("table", "f32", "plain", (V, D), 4 * V * D, lambda: iter([toy.table])),
        WeightSource(
            "head", "f32", "plain", (D, V), 4 * V * D, lambda: iter(np.split(toy.head, 2))
        ),
    ]


def write_toy(out: Path, **changes: Any) -> Plan:
    """Write the toy's plan; `changes` replace arguments of write_plan."""
    texts = {"kernels/toy.cl": SOURCE, "generation_config.json": "{}"}
    usual = {"plan": toy_plan(), "sources": toy_sources(), "texts": texts, "copies": {}}
    return write_plan(out, **{**usual, **changes})


@pytest.fixture
def numpy_toy() -> Toy:
    return Toy()


@pytest.fixture
def write() -> Callable[..., Plan]:
    return write_toy


@pytest.fixture
def sources() -> list[WeightSource]:
    return toy_sources()


@pytest.fixture(scope="session")
def plan_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan that tests only read."""
    path = tmp_path_factory.mktemp("toy") / "toy.plan"
    write_toy(path)
    return path


@pytest.fixture
def own_plan(tmp_path: Path) -> Path:
    """A plan that a test may damage."""
    write_toy(tmp_path / "toy.plan")
    return tmp_path / "toy.plan"


@pytest.fixture
def edit(own_plan: Path) -> Iterator[Callable[[Callable[[Any], None]], Path]]:
    """Change plan.json as JSON: edit(lambda body: …) -> the plan's path."""

    def change(how: Callable[[Any], None]) -> Path:
        file = own_plan / "plan.json"
        body = json.loads(file.read_text())
        how(body)
        file.write_text(json.dumps(body))
        return own_plan

    yield change
