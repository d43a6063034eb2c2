"""The profile that belongs to a phone."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

# In this order: the property made for it (Android 12), then those of older phones.
SOC_PROPERTIES = (
    "ro.soc.model",
    "ro.vendor.qti.soc_model",
    "ro.mediatek.platform",
    "ro.board.platform",
    "ro.hardware",
    "ro.boot.hardware",
    "ro.hardware.chipname",
)
GPU_NAMES = (  # the part of CL_DEVICE_NAME that identifies a GPU, by vendor
    r"(adreno)\D*(\d{3}l?)",
    r"(?:mali|immortalis)\W*()(g\d+(?:-(?:ultra|premium|pro))?)",
    r"(xclipse)\W*(\d+)",
    r"(maleoon)\W*(\d+)",
    r"(powervr|img)\D*(\w+-\d+-\d+)",
)

Profile: TypeAlias = dict[str, Any]


def match_phone(
    props: Mapping[str, str], gpu_name: str, driver: str, known: Mapping[str, Profile]
) -> str:
    """The name of a phone's profile.

    By its SoC, else by a GPU that only one entry has, else by a platform that only one SoC has,
    else the entry of the GPU's family, else `generic`.

    props     of getprop, as far as they are there
    gpu_name  CL_DEVICE_NAME, and CL_DEVICE_VERSION after it where the name is bare; may be empty
    driver    CL_DRIVER_VERSION; may be empty
    """
    values = [props.get(name, "") for name in SOC_PROPERTIES]
    gpu = f"{gpu_name}\n{driver}"
    found = (
        _by_soc(values, known)
        or _by_gpu(gpu, known)
        or _only([n for n, facts in known.items() if facts.get("platform") in values])
        or next((n for n, facts in known.items() if _has_word(facts, gpu)), None)
    )
    return found or "generic"


def socs(facts: Mapping[str, Any]) -> list[str]:
    """The SoCs of an entry: one, several or none."""
    named = facts.get("soc", [])
    return [str(soc) for soc in named] if isinstance(named, list) else [str(named)]


def gpu_key(name: str) -> str:
    """A GPU by any spelling of its name: `adreno 740`, `g715`; empty if it is not recognised."""
    for pattern in GPU_NAMES:
        if hit := re.search(pattern, name.lower()):
            return f"{hit[1]} {hit[2]}".strip()
    return ""


def _by_soc(values: Sequence[str], known: Mapping[str, Profile]) -> str | None:
    named = [(name, _plain(soc)) for name, facts in known.items() for soc in socs(facts)]
    for value in filter(None, map(_plain, values)):
        for name, soc in named:
            if value == soc:
                return name
        for name, soc in named:  # SM8650-AC, MT6989W
            if re.fullmatch(re.escape(soc) + "[A-Z]{1,2}", value):
                return name
    return None


def _by_gpu(gpu: str, known: Mapping[str, Profile]) -> str | None:
    key = gpu_key(gpu)
    return _only([n for n, facts in known.items() if key and gpu_key(facts.get("gpu", "")) == key])


def _has_word(facts: Mapping[str, Any], gpu: str) -> bool:
    return any(word.lower() in gpu.lower() for word in facts.get("match", ()))


def _only(names: list[str]) -> str | None:
    return names[0] if len(names) == 1 else None


def _plain(name: str) -> str:
    return re.sub(r"[^0-9A-Z]", "", name.upper())
