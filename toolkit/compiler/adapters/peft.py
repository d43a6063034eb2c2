"""An adapter as PEFT saves it: adapter_config.json, adapter_model.safetensors."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opencl_kernels.formats import Array
from toolkit.compiler.adapters.safetensors import tensors_of
from toolkit.errors import PocketError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
WRAPPER = "base_model.model."  # in front of each name
ENDS = (".lora_A.weight", ".lora_B.weight")
# What would change more than weights, or otherwise: setting -> values that don't.
PLAIN: Mapping[str, tuple[Any, ...]] = {
    "use_dora": (False, None),
    "bias": ("none", None),
    "modules_to_save": (None, []),
    "alpha_pattern": ({}, None),
    "rank_pattern": ({}, None),
    "layer_replication": (None, []),
    "use_qalora": (False, None),
    "lora_bias": (False, None),
    "init_lora_weights": (True, False, None, "gaussian", "eva"),  # others change the base's weights
    "alora_invocation_tokens": (None,),
}
MERGE = "merge it in PEFT (merge_and_unload), and export the model again"


@dataclass(frozen=True)
class Adapter:
    """y = x W becomes y = x W + scale * (x Aᵀ) Bᵀ: of one module, A [r, K] and B [N, r]."""

    module: str
    A: Array
    B: Array
    scale: float


def adapters_of(folder: Path) -> list[Adapter]:
    """All of a folder. Raises PocketError where it has something else than plain LoRA."""
    config = _config(folder)
    found = tensors_of(folder / WEIGHTS)
    names = {name.removesuffix(end) for name in found for end in ENDS if name.endswith(end)}
    others = sorted(set(found) - {name + end for name in names for end in ENDS})
    if others or not names:
        because = f"it has {others[0]}" if others else "it has no lora_A"
        raise PocketError(f"{folder / WEIGHTS} is no plain LoRA", because, MERGE)
    rank, alpha = int(config["r"]), float(config["lora_alpha"])
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    adapters = []
    for name in sorted(names):
        A, B = (found.get(name + end) for end in ENDS)
        if A is None or B is None or A.ndim != 2 or B.ndim != 2 or {len(A), B.shape[1]} != {rank}:
            sizes = ", ".join("missing" if m is None else str(m.shape) for m in (A, B))
            because = f"A and B have the sizes {sizes}, and {CONFIG} the rank {rank}"
            raise PocketError(f"{name} of {folder / WEIGHTS} is damaged", because, MERGE)
        adapters.append(Adapter(name.removeprefix(WRAPPER), A, B, scale))
    return adapters


def digest_of(folder: Path) -> str:
    """SHA-256 of what an adapter is. Raises PocketError where a file is not there."""
    try:
        return hashlib.sha256(
            b"".join(hashlib.sha256((folder / f).read_bytes()).digest() for f in (CONFIG, WEIGHTS))
        ).hexdigest()
    except OSError as error:
        because = f"{error.strerror}: {Path(str(error.filename)).name}"
        hint = f"name a folder with {CONFIG} and {WEIGHTS}, as PEFT's save_pretrained writes it"
        raise PocketError(f"{folder} is no adapter", because, hint) from None


def _config(folder: Path) -> dict[str, Any]:
    file = folder / CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        kind = str(config.get("peft_type", "LORA")).upper()
        rank, alpha = config["r"], config["lora_alpha"]
        if not (isinstance(rank, int) and rank > 0 and math.isfinite(float(alpha))):
            raise ValueError(f"r is {rank}, lora_alpha {alpha}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PocketError(f"{file} is damaged", error, "save the adapter again") from None
    if kind != "LORA":
        raise PocketError(f"{folder} is no LoRA", f"{CONFIG} says {kind}", MERGE)
    for name, plain in PLAIN.items():
        if config.get(name, plain[0]) not in plain:
            because = f"{CONFIG} has {name}: {config[name]!r:.60}"
            raise PocketError(f"{folder} is no plain LoRA", because, MERGE)
    return dict(config)
