"""What a phone is, and whether it can run a plan, checked before anything is copied to it."""

import sys
from dataclasses import dataclass

from toolkit.errors import PocketError
from toolkit.phone.adb import Phone
from toolkit.phone.layout import MiB
from toolkit.plan.figures import memory
from toolkit.plan.schema import Plan, Point

ABI = "arm64-v8a"
OLDEST_API = 26  # Android 8, which the runner is linked for
TIGHT = 0.8  # a plan that needs more than this share of the free memory gets a warning
DRIVER_BYTES = 64 * 2**20  # an estimate of the driver's own memory

# One line for each fact: its name, "=", its value.
ABOUT = r"""
for p in ro.product.manufacturer ro.product.model ro.product.cpu.abilist ro.product.cpu.abi \
    ro.build.version.sdk ro.build.version.release ro.soc.model ro.board.platform ro.hardware; do
  echo "$p=$(getprop $p)"
done
while read -r name size unit; do
  case $name in MemTotal:|MemAvailable:) echo "$name=$size";; esac
done < /proc/meminfo
echo "machine=$(uname -m)"
echo "gles=$(dumpsys SurfaceFlinger 2>/dev/null | grep -m 1 GLES:)"
"""


@dataclass(frozen=True)
class About:
    """The facts of a phone; those that it doesn't report are empty or 0."""

    model: str
    soc: str
    machine: str  # of its kernel: `uname -m`
    abis: tuple[str, ...]
    api: int  # 33 is Android 13
    android: str
    gpu: str
    driver: str
    memory_bytes: int
    available_bytes: int  # MemAvailable: free without ending other programs


def about(phone: Phone) -> About:
    """Read the facts of a phone, in one round trip."""
    pairs = (line.partition("=") for line in phone.shell(ABOUT, check=False).splitlines())
    facts = {name: value.strip() for name, _, value in pairs}
    maker, model = facts.get("ro.product.manufacturer", ""), facts.get("ro.product.model", "")
    socs = ("ro.soc.model", "ro.board.platform", "ro.hardware")  # the first since Android 12
    abis = facts.get("ro.product.cpu.abilist") or facts.get("ro.product.cpu.abi", "")
    gpu, driver = _gles(facts.get("gles", ""))
    return About(
        model=" ".join(filter(None, [maker, model])) or phone.model,
        soc=next((facts[name] for name in socs if facts.get(name)), ""),
        machine=facts.get("machine", ""),
        abis=tuple(filter(None, abis.split(","))),
        api=_number(facts.get("ro.build.version.sdk")),
        android=facts.get("ro.build.version.release", ""),
        gpu=gpu,
        driver=driver,
        memory_bytes=1024 * _number(facts.get("MemTotal:")),
        available_bytes=1024 * _number(facts.get("MemAvailable:")),
    )


def check_system(found: About) -> None:
    """Raise unless our program can start there."""
    if ABI not in found.abis:
        has = ", ".join(found.abis) or "none that it reports"
        because = f"the runner is built for {ABI}; its processor runs {has}"
        hint = "use a phone with a 64-bit system"
        raise PocketError(f"{found.model} can't run it", because, hint)
    if found.api < OLDEST_API:
        because = f"Android {found.android or '?'} is API level {found.api}"
        hint = f"use a phone with Android 8 (API level {OLDEST_API}) or newer"
        raise PocketError(f"the system of {found.model} is too old", because, hint)


def check_memory(plan: Plan, found: About, point: Point | None = None) -> None:
    """Raise if a plan can't fit into the free memory; print a note if it is tight.

    point  of a plan with tables: the one that it runs at; default: the last
    """
    needs = {**memory(plan, point), "driver about": DRIVER_BYTES}
    need, free = sum(needs.values()), found.available_bytes
    if not free:  # the phone doesn't report it
        return
    parts = ", ".join(f"{name} {size / MiB:,.0f}" for name, size in needs.items())
    text = f"{need / MiB:,.0f} MiB ({parts}), {free / MiB:,.0f} MiB are free"
    if need > free:
        hint = (
            "close apps, restart the phone, "
            + ("pass a smaller --memory, " if plan.tables else "")
            + "or compile with a smaller --max-context, --weights e0m4"
        )
        raise PocketError(f"{found.model} has too little memory", f"the plan takes {text}", hint)
    if need > TIGHT * free:
        note = f"note: memory will be tight on {found.model}: the plan takes {text}"
        print(note, file=sys.stderr)


def _gles(line: str) -> tuple[str, str]:
    """GPU and driver of "GLES: Qualcomm, Adreno (TM) 740, OpenGL ES 3.2 V@0676.42 (…)"."""
    words = [word.strip() for word in line.partition("GLES:")[2].split(",", 2)]
    return (words[1], words[2].removeprefix("OpenGL ES ")) if len(words) == 3 else ("", "")


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
