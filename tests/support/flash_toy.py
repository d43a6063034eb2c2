"""The toy with two layers of neurons whose weights lie in flash, read by the step `gather`.

Behind `recall`, for each layer: v = y gate^T, h = Relu(v) * (y up^T), y += h down. Gates are
resident; ups and downs are records of a table. Chunks gather all records, tile by tile; a decode
step those of the first table whose v is above 0, which changes no sum, and all of the second; where
all lie in memory, the device chooses the first ones.
Records of the first table follow each other and lie in an order of their own; those of the second
begin at pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from toy import HEADER, SOURCES, D, Toy

from opencl_kernels.formats import Quantized
from opencl_kernels.kernel import source_text
from opencl_kernels.layouts import quantized
from opencl_kernels.records import packing
from opencl_kernels.records.choose import CHOOSE_CPU, Choice
from opencl_kernels.records.neurons import NEURONS_CPU, Neurons
from opencl_kernels.records.record import Record

F, G, TILE, ALL = 65, 2, 16, "all"  # neurons of a layer, partial sums
RECORD = Record(2, D, quantized("e0m4", 16, "f16", "u8"))
STRIDES = (RECORD.nbytes, 4096)
ORDER, SIZES = 4, 5  # weights: the first table's order, and what its records add
PAGE, FILE = 4096, "flash.0.bin"
OWN_SOURCES = {
    "gates": """void gates_body(int id, int n, __global const int *sym, __global const float *y,
                __global const float *gate, __global float *v) {
  for (int at = id; at < SEQ * F; at += n) {
    float sum = 0;
    for (int d = 0; d < D; ++d) sum += y[at / F * D + d] * gate[at % F * D + d];
    v[at] = sum;
  }
}
__kernel void gates(__global const int *sym, __global const float *y, __global const float *gate,
                    __global float *v) {
  gates_body(get_global_id(0), get_global_size(0), sym, y, gate, v);
}
""",
    "add": f"""void add_body(int id, int n, __global const int *sym, __global const float *part,
              __global float *y) {{
  for (int at = id; at < SEQ * D; at += n)
    for (int g = 0; g < {G}; ++g) y[at] += part[g * SEQ * D + at];
}}
__kernel void add(__global const int *sym, __global const float *part, __global float *y) {{
  add_body(get_global_id(0), get_global_size(0), sym, part, y);
}}
""",
}
CASE = Neurons(M=1, PARTS=2, D=D, w=RECORD.stored, S=F, T=F, F=F, G=G, gate="given", act="Relu(v)")
KNOBS = {"WORKERS": 2, "PREFETCH": 2}
UNIT = {"gate": "given", "act": "v Relu", "up_act": "v"}
CHOICE = Choice(F=F, ordered=True)  # of the first table in decode


@dataclass(frozen=True)
class Layer:
    """The weights of a layer [F, D], and its records as they lie in a file."""

    gate: np.ndarray
    up: np.ndarray
    down: np.ndarray
    order: np.ndarray  # the index of each record
    records: np.ndarray

    def added(self, y: np.ndarray) -> np.ndarray:
        """What the layer adds to y [n, D]."""
        hidden = np.maximum(y @ self.gate.T, 0) * (y @ self.up.T)
        return np.asarray(hidden @ self.down)


def random_layer(random: np.random.Generator, ordered: bool, count: int = F) -> Layer:
    gate = (random.standard_normal((count, D)) / 16).astype(np.float32)
    order = random.permutation(count) if ordered else np.arange(count)
    parts = [_codes(random, count), _codes(random, count)]
    up, down = (part.values(np.float64)[np.argsort(order)] for part in parts)
    return Layer(gate, up, down, order.astype(np.int32), packing.pack(RECORD, parts))


def _codes(random: np.random.Generator, count: int) -> Quantized:
    codes, zero = (random.integers(0, 16, (count, n), np.uint8) for n in (D, 1))
    scale = random.uniform(0.012, 0.024, (count, 1)).astype(np.float16)
    return Quantized(codes, scale, zero, 4, 16)


class FlashToy(Toy):
    """The plan in a folder, and the same model in numpy.

    count    neurons of a layer
    strides  bytes from one record to the next, in each of the two tables
    """

    def __init__(
        self, folder: Path, seed: int = 0, count: int = F, strides: Sequence[int] = STRIDES
    ) -> None:
        random, self.count, self.strides = np.random.default_rng(seed + 1), count, strides
        self.layers = [random_layer(random, number == 0, count) for number in range(2)]
        super().__init__(folder, seed)
        own = {each.name: source_text(each.source) for each in (NEURONS_CPU, CHOOSE_CPU)}
        self.sources |= OWN_SOURCES | own
        add_programs(self.plan, count)
        for phase in self.plan["phases"]:
            add_layers(phase, count)
        tables = [table(number, count, strides) for number in range(2)]
        self.plan |= {"tables": tables, "points": points(count)}
        self.save()

    def save(self) -> None:
        """Write every file; files of tables stand behind that of the weights."""
        for each in self.plan.get("tables", ()):
            each["file"] = len(self.sources) + 1
        super().save()

    def weights(self) -> dict[str, np.ndarray]:
        """With gates, the order of the first table, and what its records add."""
        gates = {f"gate{number}": layer.gate for number, layer in enumerate(self.layers)}
        sizes = np.random.default_rng(2).random(F).astype(np.float32)
        return super().weights() | gates | {"order": self.layers[0].order, "sizes": sizes}

    def binaries(self) -> dict[str, bytes]:
        """With the file of both tables, which ends with the last record."""
        first, second = (np.zeros((self.count, stride), np.uint8) for stride in self.strides)
        for array, layer in zip((first, second), self.layers, strict=True):
            array[:, : RECORD.nbytes] = layer.records.view(np.uint8)
        behind = second_offset(self.count, self.strides)
        return super().binaries() | {FILE: first.tobytes().ljust(behind) + second.tobytes()}

    def logits(self, ids: Any) -> np.ndarray:
        """The logits [len(ids), V] of a text."""
        p = np.arange(len(ids))
        mix = np.tril((p[:, None] * 3 + p[None, :] * 5) % 7 - 3.0)
        y = mix @ self.table[list(ids)].astype(np.float64)
        for layer in self.layers:
            y = y + layer.added(y)
        return np.asarray(y @ self.head)


def second_offset(count: int, strides: Sequence[int]) -> int:
    return -(-count * strides[0] // PAGE) * PAGE


def add_programs(plan: dict[str, Any], count: int) -> None:
    header = [*HEADER, ["F", str(count)]]
    for name in OWN_SOURCES:
        plan["programs"].append({"source": f"kernels/{name}.cl", "kernel": name, "defines": header})
    case = replace(CASE, S=count, T=count, F=count)
    defines = [[k, str(v)] for k, v in NEURONS_CPU.defines(case, KNOBS).items()]
    facts = {"source": f"kernels/{NEURONS_CPU.source}", "kernel": NEURONS_CPU.name}
    plan["programs"].append({**facts, "defines": [["M", "sym[0]"], *defines]})
    defines = [[k, str(v)] for k, v in CHOOSE_CPU.defines(CHOICE, {"WORKERS": 2}).items()]
    facts = {"source": f"kernels/{CHOOSE_CPU.source}", "kernel": CHOOSE_CPU.name}
    plan["programs"].append({**facts, "defines": defines})


def table(number: int, count: int, strides: Sequence[int]) -> dict[str, Any]:
    part = {"bytes": RECORD.part_bytes, "dtype": "e0m4", "length": D, "group": 16, "zero": True}
    parts = [
        {"name": name, "offset": at * RECORD.part_bytes, **part}
        for at, name in enumerate(("up", "down"))
    ]
    facts = {"name": f"layers.{number}.ffn", "kind": "neuron without gate", "count": count}
    offset = number * second_offset(count, strides)
    place = {"bytes": RECORD.nbytes, "stride": strides[number], "offset": offset}
    order = {"order": ORDER} if number == 0 else {}
    return {**facts, **place, **order, "parts": parts}


def points(count: int) -> list[dict[str, Any]]:
    """With little memory, with more, and with all of it."""
    usual = {"gap": PAGE, "max_read": 4 * PAGE, "threads": 2, "cluster": 8, "select": [0.0] * 6}
    amounts = [
        {"slots": [11, 9], "pinned": [3, 0], "dense": [0, 0], "policy": "lru"},
        {"slots": [40, 33], "pinned": [7, 33], "dense": [0, 0], "policy": "lfu"},
        {"slots": [count] * 2, "pinned": [count] * 2, "dense": [0, 0], "policy": "static"},
    ]
    return [{"memory": 100_000 * (i + 1), **usual, **amount} for i, amount in enumerate(amounts)]


def add_layers(phase: dict[str, Any], count: int) -> None:
    """In front of logits. Scratch: x, y, v, part."""
    most = phase["bounds"]["seq"][1]
    for name, shape in (("v", [["seq"], count]), ("part", [G, ["seq"], D])):
        row = count if name == "v" else G * D
        size, place = 4 * row * most, -(-phase["arena_bytes"] // 128) * 128
        facts = {"name": name, "dtype": "f32", "shape": shape, "size": ["seq", 4 * row, "*"]}
        phase["scratch"].append({**facts, "bytes": size, "offset": place})
        phase["arena_bytes"] = place + size
    decode = phase["name"] == "decode"
    own = (each for number in range(2) for each in layer_steps(number, decode, count))
    phase["steps"][3:3] = own  # behind recall


def layer_steps(number: int, decode: bool, count: int) -> list[dict[str, Any]]:
    y, v, part = (["scratch", index] for index in (1, 2, 3))
    by_gate = {"by": "above", "from": v, "threshold": 0.0, "gamma": 1.0}
    neurons = [["symbols"], ["ticket"], ["slots"], y, v, part]
    gather = {
        "kind": "gather",
        "queue": 0,
        "name": f"layers.{number}.ffn",
        "table": number,
        "parts": ["up", "down"],
        "select": by_gate if decode and number == 0 else {"by": "all", "gamma": 1.0},
        **({} if decode else {"tile": TILE}),
        **({"choose": choose(v)} if decode and number == 0 else {}),
        **({"whole": True} if decode and number else {}),
        "dispatches": [step(f"layers.{number}.neurons", "neurons_cpu", neurons, [5], 2)],
        "unit": {**UNIT, "x": 3, "given": 4, "part": 5},
    }
    gates = [["symbols"], y, ["weight", 2 + number], v]
    return [
        step(f"layers.{number}.gates", "gates", gates, [3], ["seq", count, "*"]),
        gather,
        step(f"layers.{number}.add", "add", [["symbols"], part, y], [2], ["seq", D, "*"]),
    ]


def choose(v: list[Any]) -> dict[str, Any]:
    """What fills the ticket of a decode step where all of the first table lies in memory."""
    args = [["symbols"], ["rule"], v, ["weight", ORDER], ["ticket"]]
    return step("layers.0.choose", "choose_cpu", args, [1, 4], 2)


def step(
    name: str, kernel: str, args: list[list[Any]], writes: list[int], size: Any
) -> dict[str, Any]:
    program = [*SOURCES, *OWN_SOURCES, "neurons_cpu", "choose_cpu"].index(kernel)
    variant = {"program": program, "global": [size], "local": [1], "requires": [], "local_bytes": 0}
    facts = {"kind": "dispatch", "queue": 0, "name": name, "args": args}
    return {**facts, "writes": writes, "variants": [variant]}
