"""A language model of four kernels, written by hand: embed, remember, recall, logits, argmax.

y[p] = sum over j <= p of ((3p + 5j) % 7 - 3) * table[id[j]];  logits[p] = y[p] @ head. The state
keeps table[id[j]] for every position j, so that a wrong position, a wrong rewind or a lost token
changes the answer. V vocabulary, D width, C context.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.plan.text import digest

V, D, C, CHUNK = 50, 16, 40, 8
ALIGN = 16384  # of weights
HEADER = [["SEQ", "sym[0]"], ["PAST", "sym[1]"], ["ROWS", "sym[2]"], ["V", str(V)], ["D", str(D)]]
SOURCES = {
    "embed": """__kernel void embed(__global const int *sym, __global const int *tokens,
                                    __global const float *table, __global float *x) {
  const int row = get_global_id(0) / D, d = get_global_id(0) % D;
  x[row * D + d] = table[max(tokens[row], 0) * D + d];  // -1: no numbers
}
""",
    "remember": """__kernel void remember(__global const int *sym, __global const float *x,
                                          __global float *state) {
  const int row = get_global_id(0) / D, d = get_global_id(0) % D;
  state[(PAST + row) * D + d] = x[row * D + d];
}
""",
    "recall": """__kernel void recall(__global const int *sym, __global const float *state,
                                      __global float *y) {
  const int row = get_global_id(0) / D, d = get_global_id(0) % D;
  float sum = 0;
  for (int j = 0; j <= PAST + row; ++j) {
    const int p = PAST + row;
    sum += state[j * D + d] * ((p * 3 + j * 5) % 7 - 3);
  }
  y[row * D + d] = sum;
}
""",
    "logits": """__kernel void logits(__global const int *sym, __global const float *y,
                                      __global const float *head, __global float *out) {
  const int r = get_global_id(0) / V, v = get_global_id(0) % V;
  float sum = 0;
  for (int d = 0; d < D; ++d) sum += y[(SEQ - ROWS + r) * D + d] * head[d * V + v];
  out[r * V + v] = sum;
}
""",
    "pick": """__kernel void pick(__global int *sym, __global const float *out,
                                    __global int *tokens, __global int *ids) {
  int best = -1;
  float most = -INFINITY;
  for (int v = 0; v < V; ++v)
    if (out[(ROWS - 1) * V + v] > most) { most = out[(ROWS - 1) * V + v]; best = v; }
  if (isinf(most)) best = -1;
  tokens[0] = best;
  ids[PAST + SEQ] = best;
  sym[1] += SEQ;
}
""",
}
BUFFERS = ("tokens", "ids", "logits", "state")


class Toy:
    """The plan in a folder, and the same model in numpy."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.folder = folder
        self.table = random.standard_normal((V, D)).astype(np.float32)
        self.head = random.standard_normal((D, V)).astype(np.float32)
        self.sources = dict(SOURCES)
        self.plan = make_plan()
        self.save()

    def save(self) -> None:
        """Write every file, with sizes and hashes that fit."""
        (self.folder / "kernels").mkdir(parents=True, exist_ok=True)
        contents = {f"kernels/{n}.cl": text.encode() for n, text in self.sources.items()}
        contents |= self.binaries()
        self.plan["files"] = [
            {"path": p, "bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()}
            for p, c in contents.items()
        ]
        self.plan["weights"] = [
            weight(name, array, len(self.sources), place)
            for (name, array), place in zip(self.weights().items(), self.places(), strict=True)
        ]
        for path, content in contents.items():
            (self.folder / path).write_bytes(content)
        self.save_json()

    def weights(self) -> dict[str, np.ndarray]:
        """Those of weights.0.bin, in their order."""
        return {"table": self.table, "head": self.head}

    def places(self) -> list[int]:
        """Where in it they begin."""
        sizes = [-(-array.nbytes // ALIGN) * ALIGN for array in self.weights().values()]
        return [sum(sizes[:number]) for number in range(len(sizes))]

    def binaries(self) -> dict[str, bytes]:
        """The files besides kernels, weights first."""
        content = b""
        for array, place in zip(self.weights().values(), self.places(), strict=True):
            content = content.ljust(place, b"\0") + array.tobytes()
        return {"weights.0.bin": content}

    def save_json(self, change: Callable[[dict[str, Any]], Any] | None = None) -> None:
        """Write plan.json, after `change` if one is given."""
        plan = json.loads(json.dumps(self.plan))
        if change:
            change(plan)
        text = json.dumps(plan, indent=1).removesuffix("\n}") + ",\n"
        text += f'"digest": "{digest(text)}"\n}}\n'
        (self.folder / "plan.json").write_text(text)

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """The logits [len(ids), V] of a text."""
        p = np.arange(len(ids))
        mix = np.tril((p[:, None] * 3 + p[None, :] * 5) % 7 - 3.0)
        return mix @ self.table[list(ids)].astype(np.float64) @ self.head

    def next(self, ids: Sequence[int]) -> int:
        """The greedy next id."""
        return int(np.argmax(self.logits(ids)[-1]))

    def continued(self, ids: Sequence[int], count: int) -> list[int]:
        """`count` greedy ids that follow a text."""
        text = list(ids)
        for _ in range(count):
            text.append(self.next(text))
        return text[len(ids) :]


def weight(name: str, array: np.ndarray, file: int, offset: int) -> dict[str, Any]:
    """A line of the table of weights."""
    dtype = {"f": "f32", "i": "i32"}[array.dtype.kind]
    facts = {"name": name, "dtype": dtype, "layout": "plain", "shape": list(array.shape)}
    return facts | {"file": file, "offset": offset, "bytes": array.nbytes}


def buffer(name: str, kind: str, dtype: str, shape: list[Any], nbytes: int) -> dict[str, Any]:
    """A line of the table of buffers."""
    return {"name": name, "kind": kind, "dtype": dtype, "shape": shape, "bytes": nbytes}


def state(index: int, part: str) -> dict[str, Any]:
    """A line of the table of states: a buffer [C, …] that is appended to."""
    facts = {"buffer": index, "group": "toy", "part": part, "update": "append"}
    return facts | {"axis": 0, "capacity": C, "layout": "dense", "versions": 1}


def fetch(index: int) -> dict[str, Any]:
    """A step that hands a buffer over."""
    facts = {"kind": "host", "op": "fetch", "args": [["buffer", index]], "writes": []}
    return facts | {"params": {}, "queue": 0}


def dispatch(
    name: str, args: list[list[Any]], writes: list[int], size: list[Any]
) -> dict[str, Any]:
    """A step with one variant."""
    variant = {"program": list(SOURCES).index(name), "global": [size], "local": [1], "requires": []}
    variant["local_bytes"] = 0
    facts = {"kind": "dispatch", "queue": 0, "name": f"toy.{name}", "args": args}
    return facts | {"writes": writes, "variants": [variant]}


def phase(name: str, seq: list[int], rows: list[int], end: list[dict[str, Any]]) -> dict[str, Any]:
    """A phase: x and y in scratch, one after the other."""
    size = 4 * D * seq[1]
    place = (size + 127) // 128 * 128
    scratch = {"dtype": "f32", "shape": [["seq"], D], "size": ["seq", 4 * D, "*"], "bytes": size}
    items = ["seq", D, "*"]
    steps = [
        dispatch("embed", [["symbols"], ["buffer", 0], ["weight", 0], ["scratch", 0]], [3], items),
        dispatch("remember", [["symbols"], ["scratch", 0], ["buffer", 3]], [2], items),
        dispatch("recall", [["symbols"], ["buffer", 3], ["scratch", 1]], [2], items),
        dispatch(
            "logits",
            [["symbols"], ["scratch", 1], ["weight", 1], ["buffer", 2]],
            [3],
            ["rows", V, "*"],
        ),
    ]
    return {
        "name": name,
        "graph": "toy",
        "bounds": {"seq": seq, "rows": rows},
        "recordable": name == "decode",
        "arena_bytes": 2 * place,
        "lower_bound_bytes": 2 * size,
        "scratch": [
            {"name": "x", **scratch, "offset": 0},
            {"name": "y", **scratch, "offset": place},
        ],
        "steps": [*steps, *end],
    }


def make_plan() -> dict[str, Any]:
    """plan.json without its files and weights."""
    pick = dispatch(
        "pick", [["symbols"], ["buffer", 2], ["buffer", 0], ["buffer", 1]], [0, 2, 3], [1]
    )
    wait = {"kind": "wait", "queue": 0}
    chosen, scored = [pick, fetch(1), wait], [fetch(2), wait]
    sizes = {"batch": 1, "vocab_size": V, "max_context": C, "prefill_chunk": CHUNK}
    symbols = {"seq": (1, CHUNK), "past": (0, C - 1), "rows": (1, CHUNK), "start": (0, C - 1)}
    return {
        "format": 2,
        "generator": "hand",
        "model": {"kind": "language-model", **sizes, "eos": [0]},
        "profile": {"name": "pocl", "class": "cpu", "align": 128},
        "symbols": [
            {"name": name, "kind": "input", "min": low, "max": high, "slot": slot}
            | ({"length": 1} if name == "start" else {})
            for slot, (name, (low, high)) in enumerate(symbols.items())
        ],
        "buffers": [
            buffer("tokens", "input", "i32", [CHUNK], 4 * CHUNK),
            buffer("ids", "output", "i32", [1, C + 1], 4 * (C + 1)),
            buffer("logits", "output", "f32", [["rows"], V], 4 * CHUNK * V),
            buffer("state", "state", "f32", [C, D], 4 * C * D),
        ],
        "states": [state(3, "state")],
        "weights": [],
        "files": [],
        "programs": [
            {"source": f"kernels/{name}.cl", "kernel": name, "defines": HEADER} for name in SOURCES
        ],
        "phases": [
            phase("prefill", [1, CHUNK], [1, 1], chosen),
            phase("decode", [1, 1], [1, 1], chosen),
            phase("score", [1, CHUNK], [1, CHUNK], scored),
        ],
    }
