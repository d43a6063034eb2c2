"""The toy whose first table has its gates in records, too, a page in front of ups and downs.

A decode step selects more neurons than it needs. Of those that are missing it reads gates first,
and the rest of records whose gate is above 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from flash_toy import PAGE, F, FlashToy, choose, second_offset
from plan_edits import PlanEdit, bad
from toy import HEADER, D

BYTES, STRIDE, G, SUPERSET = PAGE + 2 * 4 * D, 2 * PAGE, 2, -0.25
KERNELS = {
    "first_rows": """void first_rows_body(int id, int n, __global const int *sym,
    __global const int *ticket, __global const float *slots, __global const float *y,
    __global float *w) {
  for (int r = id; r < ticket[0]; r += n) {
    __global const float *record = slots + (size_t)ticket[4 + 2 * r] * (BYTES / 4);
    float sum = 0;
    for (int d = 0; d < D; ++d) sum += y[d] * record[d];
    w[ticket[5 + 2 * r]] = sum;
  }
}
__kernel void first_rows(__global const int *sym, __global const int *ticket,
    __global const float *slots, __global const float *y, __global float *w) {
  first_rows_body(get_global_id(0), get_global_size(0), sym, ticket, slots, y, w);
}
""",
    "whole": """void whole_body(int id, int n, __global const int *sym,
    __global const int *ticket, __global const float *slots, __global const float *y,
    __global float *part) {
  for (int at = id; at < G * SEQ * D; at += n) {
    const int g = at / (SEQ * D), m = at / D % SEQ;
    float sum = ticket[1] ? 0 : part[at];
    for (int r = g; r < ticket[0]; r += G) {
      __global const float *record = slots + (size_t)ticket[4 + 2 * r] * (BYTES / 4);
      float v = 0, up = 0;
      for (int d = 0; d < D; ++d) {
        v += y[m * D + d] * record[d];
        up += y[m * D + d] * record[1024 + d];
      }
      sum += fmax(v, 0.0f) * up * record[1024 + D + at % D];
    }
    part[at] = sum;
  }
}
__kernel void whole(__global const int *sym, __global const int *ticket,
    __global const float *slots, __global const float *y, __global float *part) {
  whole_body(get_global_id(0), get_global_size(0), sym, ticket, slots, y, part);
}
""",
}


class TwoPhaseToy(FlashToy):
    """The plan in a folder, and the same model in numpy."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        super().__init__(folder, seed, strides=(STRIDE, PAGE))
        self.sources |= KERNELS
        header = [*HEADER, ["BYTES", str(BYTES)], ["G", str(G)]]
        first = len(self.plan["programs"])
        for name in KERNELS:
            facts = {"source": f"kernels/{name}.cl", "kernel": name, "defines": header}
            self.plan["programs"].append(facts)
        self.plan["tables"][0] |= {"bytes": BYTES, "parts": parts()}
        for phase in self.plan["phases"]:
            gather = phase["steps"][4]
            gather["parts"] = ["gate", "up", "down"]
            del gather["unit"]  # it is another one's
            args = [["symbols"], ["ticket"], ["slots"], ["scratch", 1], ["scratch", 3]]
            gather["dispatches"] = [launch("layers.0.neurons", first + 1, args, [4])]
        in_two_phases(self.plan["phases"][1], first)
        for point in self.plan["points"]:
            point["gap"] = 0
            point["select"][2] = SUPERSET
        self.save()

    def binaries(self) -> dict[str, bytes]:
        """Of the first table with gates and what is as long as a page behind them."""
        found = super().binaries()
        (name,) = (name for name in found if name.startswith("flash"))
        layer, order = self.layers[0], self.layers[0].order
        records = np.zeros((F, STRIDE // 4), np.float32)
        records[:, :D] = layer.gate[order]
        records[:, 1024 : 1024 + D] = layer.up[order]
        records[:, 1024 + D : 1024 + 2 * D] = layer.down[order]
        behind = second_offset(F, self.strides)
        return found | {name: records.tobytes().ljust(behind) + found[name][behind:]}


def parts() -> list[dict[str, Any]]:
    places = (("gate", 0), ("up", PAGE), ("down", PAGE + 4 * D))
    facts = {"bytes": 4 * D, "dtype": "f32", "length": D}
    return [{"name": name, "offset": offset, **facts} for name, offset in places]


def in_two_phases(decode: dict[str, Any], program: int) -> None:
    """The decode step's first gather; what gates are goes to a scratch of their own."""
    place = -(-decode["arena_bytes"] // 128) * 128
    size = {"size": 4 * F, "bytes": 4 * F, "offset": place}
    decode["scratch"].append({"name": "w", "dtype": "f32", "shape": [F], **size})
    decode["arena_bytes"] = place + 4 * F
    args = [["symbols"], ["ticket"], ["slots"], ["scratch", 1], w := ["scratch", 4]]
    decode["steps"][4] |= {
        "choose": choose(["scratch", 2]),
        "first": {
            "parts": ["gate"],
            "dispatches": [launch("layers.0.gates.missing", program, args, [4])],
            "select": {"by": "above", "from": w, "threshold": 0.0, "gamma": 1.0},
        },
    }


def launch(name: str, program: int, args: list[Any], writes: list[int]) -> dict[str, Any]:
    variant = {"program": program, "global": [2], "local": [1], "requires": [], "local_bytes": 0}
    facts = {"kind": "dispatch", "queue": 0, "name": name, "args": args}
    return {**facts, "writes": writes, "variants": [variant]}


FIRST = "phases.1.steps.4.first"
AT = "phases[1].steps[4].first"
BAD_FIRST = (
    bad(f"{FIRST}.parts", [], "nothing is read first"),
    bad(f"{FIRST}.parts", ["gate", "up", "down"], "nothing is left"),
    bad(f"{FIRST}.parts", ["up"], "not the first one"),
    bad(f"{FIRST}.parts", ["gate", "up"], "it ends in the record's last page"),
    bad(f"{FIRST}.dispatches", [], "nothing is computed"),
    bad(f"{FIRST}.dispatches.0.queue", 1, "another queue"),
    bad(f"{FIRST}.select", {"by": "all"}, "no choice", f"{AT}.select.by"),
    bad(f"{FIRST}.select", {"by": "top", "k": 3, "from": ["scratch", 4]}, "", f"{AT}.select.by"),
    bad(f"{FIRST}.select.from", ["scratch", 2], "nothing of them is written there"),
    bad(f"{FIRST}.select.from", ["buffer", 0], "no scratch", f"{AT}.select.from"),
)
GOOD_FIRST = (PlanEdit(f"{FIRST}.select.by", "nonzero", "another choice among them"),)
