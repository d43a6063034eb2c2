"""The toy with weights in flash whose decode step reads ahead of its second table.

Gates of the second layer are computed of what the first one is given, too: about as they will be.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flash_toy import F, FlashToy, step

PREFETCH = 4  # its step, right before the first gather
SCORES = 4  # its scratch
WANTED = 20


class AheadToy(FlashToy):
    """It reads so many records ahead at each point."""

    def __init__(self, folder: Path, seed: int = 0, wanted: int = WANTED) -> None:
        super().__init__(folder, seed)
        (decode,) = (each for each in self.plan["phases"] if each["name"] == "decode")
        place = -(-decode["arena_bytes"] // 128) * 128
        facts = {
            "name": "v.ahead",
            "dtype": "f32",
            "shape": [["seq"], F],
            "size": ["seq", 4 * F, "*"],
        }
        decode["scratch"].append({**facts, "bytes": 4 * F, "offset": place})
        decode["arena_bytes"] = place + 4 * F
        decode["steps"].insert(PREFETCH, prefetch())
        behind = decode["steps"][PREFETCH + 4]
        behind["select"] = {"by": "above", "from": ["scratch", 2], "threshold": 0.0, "gamma": 1.0}
        del behind["whole"]
        for point in self.plan["points"]:
            point["ahead"] = [wanted]
        self.save_json()


def prefetch() -> dict[str, Any]:
    args = [["symbols"], ["scratch", 1], ["weight", 3], ["scratch", SCORES]]
    select = {"by": "above", "from": ["scratch", SCORES], "threshold": 0.0, "gamma": 1.0}
    facts = {"kind": "prefetch", "queue": 0, "name": "layers.1.ffn.ahead", "table": 1}
    gates = step("layers.1.gates.ahead", "gates", args, [3], ["seq", F, "*"])
    return {**facts, "select": select, "dispatches": [gates]}
