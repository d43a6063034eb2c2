"""Opens and closes a plan by the C API, again and again; tells the memory in between, as JSON.

    python tests/support/soak.py OPTIONS

OPTIONS is a JSON object: the fields of pocketcl_options, `rounds` and `tokens`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import binding

TEXT = [3, 1, 4, 1, 5]
TOKENS = int(os.environ.get("POCKETCL_SOAK_TOKENS", "20000"))  # CI takes fewer


def rss(process: str = "self") -> int:
    """Resident bytes of a process."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def main(plan: str, rounds: int, tokens: int, **options: str) -> dict[str, int]:
    """Memory after a quarter of the rounds and at the end; and how many ids there were."""
    api, ids, quarter = binding.load(), 0, 0
    for i in range(rounds):
        handle = binding.Handle(api, Path(plan), **options)
        first = handle.prefill(TEXT, 0)
        ids += 1 + len(handle.generate(first, len(TEXT), tokens - 1)[0])
        handle.close()
        if i == rounds // 4:
            quarter = rss()
    return {"quarter": quarter, "end": rss(), "ids": ids}


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
