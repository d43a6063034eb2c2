"""What a device can do at most, and which share of that kernels reach; each figure with its source.

A profile's own figures come first; what it lacks follows from others of it, or from the profiles of
its class, and the source says so.
"""

import re
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from opencl_kernels.device_class import CLASSES
from toolkit.compiler.cost.told import fault, number, positive, source_of
from toolkit.devices.match import Profile
from toolkit.devices.profiles import class_facts
from toolkit.errors import PocketError

VISIBLE = 0.8  # of a nominal bandwidth, what a GPU that only reads can see (mixbench#46)
BUS_BYTES = 8  # of a transfer of a phone's memory, 64 bits wide


@dataclass(frozen=True)
class Figure:
    """A number and where it comes from."""

    value: float
    source: str


@dataclass(frozen=True)
class Share:
    """How much of a device's limits a family of kernels reaches, 1 being all of it."""

    bandwidth: float
    arithmetic: float
    source: str
    soft: bool = False  # near the roof's edge neither limit is reached: their times add as squares


NONE = Figure(0.0, "none")
ALL = Share(1.0, 1.0, "assumed: all of both limits")


@dataclass(frozen=True)
class Rates:
    """The limits of a device: its roof, the price of a launch, the shares that kernels reach."""

    read: Figure  # bytes a second
    arithmetic: Figure  # operations a second, two of a multiply-add
    launch: Figure  # seconds of a dispatch besides its work
    step: Figure  # the same where a phase runs as one launch
    shares: Mapping[str, Share]
    wake: Figure = NONE  # seconds of a launch that all cores compute, besides
    wait: Figure = NONE  # until the host has what a launch left, and the device the next one
    handoff: Figure = NONE  # seconds from one thread of the host to another
    select: Figure = NONE  # seconds of the host for each record that it chooses among
    cached: Figure | None = None  # bytes a second of what a cache holds
    cache_bytes: float = 0

    def share(self, *names: str) -> Share:
        """That of the first of these names which has one, else that of `other`."""
        found = (self.shares[name] for name in (*names, "other") if name in self.shares)
        return next(found, ALL)


def rates_of(name: str, facts: Profile, known: Mapping[str, Profile]) -> Rates:
    """The limits of a device; raises where nothing tells them.

    facts  its profile
    known  all profiles: those of its class stand in for what its own lacks
    """
    alike = [each for each in known.values() if each["class"] == facts["class"]]
    read = _first(name, "bandwidth", _bandwidths(name, facts, alike))
    return Rates(
        read=read,
        arithmetic=_first(name, "arithmetic rate", _peaks(name, facts, alike)),
        launch=_price(name, facts, "launch_us"),
        step=_price(name, facts, "step_us"),
        shares=dict(_shares(name, facts)),
        wake=_price(name, facts, "wake_us"),
        wait=_price(name, facts, "wait_us"),
        handoff=_price(name, facts, "handoff_us"),
        select=_price(name, facts, "select_ns", 1e-9),
        cached=_cached(name, facts),
        cache_bytes=number(name, facts, "cache_bytes") or 0,
    )


def _bandwidths(name: str, facts: Profile, alike: list[Profile]) -> Iterator[Figure]:
    if measured := number(name, facts, "bandwidth_measured_gbs"):
        yield Figure(1e9 * measured, source_of(facts, "bandwidth_measured_gbs"))
    seen = f"{VISIBLE:.0%} of the nominal"
    if nominal := number(name, facts, "bandwidth_gbs"):
        yield _nominal(nominal, f"{seen} {nominal:g} GB/s: {source_of(facts, 'bandwidth_gbs')}")
    if transfers := re.search(r"-(\d+)$", str(facts.get("memory", ""))):
        formula = BUS_BYTES * int(transfers[1]) / 1e3
        yield _nominal(formula, f"{seen} {formula:g} GB/s, by formula of {facts['memory']}")
    if others := _values(alike, "bandwidth_gbs"):
        middle = statistics.median(others)
        yield _nominal(middle, f"{seen} {middle:g} GB/s, the median of {_count(others, facts)}")


def _nominal(gigabytes: float, source: str) -> Figure:
    return Figure(1e9 * VISIBLE * gigabytes, source)


def _cached(name: str, facts: Profile) -> Figure | None:
    rate = number(name, facts, "cache_gbs")
    return Figure(1e9 * rate, source_of(facts, "cache_gbs")) if rate else None


def _peaks(name: str, facts: Profile, alike: list[Profile]) -> Iterator[Figure]:
    """Of halves where values between kernels are halves."""
    single = number(name, facts, "fp32_tflops")
    if CLASSES[facts["class"]].activations == "f32":
        if single:
            yield Figure(1e12 * single, f"fp32: {source_of(facts, 'fp32_tflops')}")
        return
    if half := number(name, facts, "fp16_tflops"):
        yield Figure(1e12 * half, f"fp16 peak: {source_of(facts, 'fp16_tflops')}")
    if single:
        yield Figure(2e12 * single, f"twice fp32: {source_of(facts, 'fp32_tflops')}")
    pairs = [each for each in alike if {"fp16_tflops", "bandwidth_gbs"} <= each.keys()]
    if pairs and (own := number(name, facts, "bandwidth_gbs")):
        ratio = statistics.median(each["fp16_tflops"] / each["bandwidth_gbs"] for each in pairs)
        source = f"the median of TFLOP/s per GB/s of {_count(pairs, facts)}"
        yield Figure(1e12 * ratio * own, source)
    if others := _values(alike, "fp16_tflops"):
        yield Figure(1e12 * statistics.median(others), f"the median of {_count(others, facts)}")


def _price(name: str, facts: Profile, key: str, unit: float = 1e-6) -> Figure:
    """Of what is done besides work; most profiles leave it to their class."""
    usual = class_facts(facts["class"])
    of_class = facts.get(key) == usual.get(key)
    source = (
        f"class {facts['class']}: {source_of(usual, key)}" if of_class else source_of(facts, key)
    )
    return Figure(unit * (number(name, facts, key) or 0), source)


def _first(name: str, what: str, found: Iterator[Figure]) -> Figure:
    figure = next(found, None)
    if figure is None:
        raise PocketError(
            f"the {what} of '{name}' is not known",
            "neither its profile nor others of its class have one",
            f"measure the device here: pocketcl bench --kernels --save {name}",
        )
    return figure


def _shares(name: str, facts: Profile) -> Iterator[tuple[str, Share]]:
    """Where one limit is given, the share of the other is the same."""
    for family, entry in facts.get("kernels", {}).items():
        told = entry if isinstance(entry, Mapping) else {}
        limits = [key for key in ("bandwidth", "arithmetic") if key in told]
        given = [positive(entry, key) for key in limits]
        if not given or None in given:
            raise fault(facts, name, f"its kernels have {family}: {entry!r:.60}")
        first, last = (float(given[i] or 0) for i in (0, -1))
        source = str(entry.get("source", source_of(facts, "kernels")))
        yield family, Share(first, last, source, entry.get("soft") is True)


def _values(alike: list[Profile], key: str) -> list[float]:
    return [each[key] for each in alike if isinstance(each.get(key), int | float)]


def _count(found: list[Any], facts: Profile) -> str:
    return f"{len(found)} {facts['class']} profiles"
