"""Classes of devices: what a compile chooses for one, and whose kernels it may run.

A class runs the kernels that name it, then those of its parent. `generic` is OpenCL C 1.2 with
what every driver has, so that each class ends in kernels that run anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

Values = Mapping[str, Mapping[str, tuple[int, ...]]]  # kernel -> knob -> values, default first


@dataclass(frozen=True)
class DeviceClass:
    """What is chosen alike for all devices of a class."""

    name: str
    parent: str | None
    activations: str  # storage of values between kernels: "f32" or "f16"
    kv: str  # storage of KV states
    chunk: int  # tokens of a prefill step
    few_rows: int  # a product of so many rows or fewer reads its weight once for each row
    few_rows_quantized: int  # the same where each reading decodes the weight
    shared_rows: int  # a product of so many rows or fewer reads its weight once for some of them
    layouts: Mapping[str, str]  # of weights, by storage type (layouts.py)
    knobs: Values = field(default_factory=dict)  # where a kernel's own values do not suit
    # The most that knobs are in a kernel's further variants: for compilers short of registers, and
    # for devices whose images end too early.
    spare: Mapping[str, tuple[Mapping[str, int], ...]] = field(default_factory=dict)
    is_cpu: bool = False  # its devices are processors: as many compute units as threads
    cooperative: bool = False  # runs a phase as one launch, whose work-items wait for each other


GEMMS_OF_HALVES = ("gemm_half", "gemm_half_q8", "gemm_half_f16")
WEIGHTS = {"f32": "n16", "f16": "n16", "e0m4": "e0m4", "q8": "q8"}

CPU = DeviceClass(
    name="cpu",
    parent="generic",
    activations="f32",
    kv="f32",
    chunk=512,  # there is no screen to wait for, and weights are read less often
    few_rows=4,
    few_rows_quantized=1,
    shared_rows=0,
    layouts=WEIGHTS,
    knobs={  # fat work-items, about as many as cores
        "embed": {"WORKERS": (8, 1)},
        "rope_kv": {"WORKERS": (8,)},
        "attention_combine": {"WORKERS": (2,)},
        "reduce": {"WORKERS": (8,)},
        "scan": {"WORKERS": (8,)},
        "topk": {"WORKERS": (8,)},
        "topk_short": {"WORKERS": (8,)},
        "scatter": {"WORKERS": (8,)},
        "map": {"WORKERS": (8,), "PIECE": (1024, 64)},
        "maps": {"WORKERS": (8,), "PIECE": (1024, 64)},
        "unpack": {"WORKERS": (8,)},
        "add_parts": {"WORKERS": (2,)},
        "embed_rows": {"WORKERS": (8,)},
    },
    is_cpu=True,
    cooperative=True,
)
GENERIC = DeviceClass(
    name="generic",
    parent=None,
    activations="f16",
    kv="f16",
    chunk=256,  # short enough for a phone's screen
    few_rows=4,
    few_rows_quantized=1,
    shared_rows=16,  # half a tile of gemm
    layouts=WEIGHTS,
    spare={name: ({"MB": 4},) for name in GEMMS_OF_HALVES},
)
_NO_IMAGE = {"X_IMAGE": 0}
OF_SHUFFLES = ("attention_decode_shuffle", "attention_split_shuffle")
# Twice the work-items for one tile: half the registers, and a wave computes while one waits.
_TWO_WAVES = {
    f"attention_{name}_half": {"WG": (128, 64)} for name in ("prefill", "decode", "split")
}
ADRENO = replace(
    GENERIC,
    name="adreno",
    parent="generic",
    knobs={  # waves of 64 or 128
        **_TWO_WAVES,
        "gemv_pair_half": {"WG": (128, 64, 256), "RUN": (2, 0, 1)},
        # Adreno's compiler takes images through another cache and path than buffers: weights keep
        # these to themselves.
        **{each: {"X_IMAGE": (1, 0)} for each in GEMMS_OF_HALVES},
        "gemv_half": {"WG": (128, 64, 256), "RUN": (2, 0, 1), "X_IMAGE": (1, 0)},
    },
    spare={
        "gemv_half": (_NO_IMAGE,),
        **{each: (_NO_IMAGE, {**_NO_IMAGE, "MB": 4}) for each in GEMMS_OF_HALVES},
    },
)
MALI = replace(
    GENERIC,
    name="mali",
    parent="generic",
    knobs={  # waves of 16, 64 registers
        **_TWO_WAVES,
        **{each: {"REGISTERS": (64, 256)} for each in OF_SHUFFLES},
        # Its images end at 65,536 texels.
        "gemv_half": {"WG": (32, 16, 64), "MB": (2, 1, 4), "X_IMAGE": (0,)},
        "gemv_pair_half": {"WG": (32, 16, 64), "MB": (2, 1, 4)},
        "gemm_half": {"MB": (4, 8, 2), "X_IMAGE": (0,)},
        "gemm_half_q8": {"MB": (6, 4, 8), "X_IMAGE": (0,)},
        "gemm_half_f16": {"MB": (5, 4, 8), "X_IMAGE": (0,)},
        "gemm_tiled": {"MR": (4, 8)},
    },
)

CLASSES: dict[str, DeviceClass] = {each.name: each for each in (CPU, ADRENO, MALI, GENERIC)}


def is_cpu_class(name: object) -> bool:
    """Whether a class of this name, as a plan or a profile has it, is of processors."""
    return any(each.is_cpu for each in CLASSES.values() if each.name == name)


def lineage(device_class: DeviceClass) -> list[DeviceClass]:
    """The class, its parent, and so on."""
    parent = device_class.parent
    return [device_class, *(lineage(CLASSES[parent]) if parent is not None else ())]
