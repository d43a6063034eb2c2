"""ONNX Runtime with what a plan has chosen: masks by magnitude are given, not computed.

Where two elements are nearly as great, rounding says which of them a plan takes, and all that
follows differs though no kernel is wrong. So the reference takes the plan's own choices, by the
trace of its gathers, and says whether each could be: what it left may be greater than what it took
by no more than rounding makes of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnx_ir as ir

from opencl_kernels.formats import Array
from toolkit.compiler.calibration.reference import Reference
from toolkit.compiler.calibration.routers import Router, masks_of
from toolkit.compiler.source import Source
from toolkit.errors import PocketError
from toolkit.evaluation.judging import Bar
from toolkit.evaluation.near_ties import OF_MASKS
from toolkit.offload.orders import order_of
from toolkit.plan.schema import Plan

Run = list[Array]  # of each mask, bool by index


@dataclass(frozen=True)
class Agreement:
    """Of masks that a plan has chosen, with those that ONNX Runtime would have.

    masks  how many there were; equal: of all that they take, what both do
    worst  by how much what a mask left was greater than what it took instead, as a share of the
           greatest
    """

    masks: int = 0
    equal: float = 1.0
    worst: float = 0.0

    def explained(self, roundoff: float) -> bool:
        """Whether rounding explains all differences; `roundoff`: of what a plan stores."""
        return self.worst <= OF_MASKS * roundoff


class Trace:
    """The masks that an executor chooses, from the file of its gathers."""

    def __init__(self, path: Path, plan: Plan, file: Path) -> None:
        """`path`: of the plan; `file`: of the trace, which the executor writes."""
        self._file, self._at = file, 0
        orders = [order_of(path, plan, table) for table in plan.tables]
        gathers = [gather for phase in plan.phases for gather in phase.gathers()]
        self._masks = {
            number: (plan.tables[gather.table].count, orders[gather.table])
            for number, gather in enumerate(gathers)
            if gather.select.by == "top"
        }

    def begin(self) -> None:
        """What comes from here on is asked for."""
        self._at = self._file.stat().st_size

    def runs(self) -> list[Run]:
        """Of each run since then that chose anything; a process that began anew has a new file."""
        size = self._file.stat().st_size
        with self._file.open("rb") as file:
            file.seek(self._at if size >= self._at else 0)
            lines = [json.loads(line) for line in file]
        found = dict[int, Run]()
        for each in lines:
            if each.get("g") in self._masks and each["t"] >= 0:
                found.setdefault(each["t"], []).append(self._mask(each["g"], each["sel"]))
        return list(found.values())

    def _mask(self, gather: int, records: list[int]) -> Array:
        count, order = self._masks[gather]
        mask = np.zeros(count, bool)
        mask[records if order is None else order[records]] = True
        return mask


class Followed(Reference):
    """The final graph of a plan, whose masks come from outside where one position is fed."""

    masks: list[Router]
    _names: list[str]

    @classmethod
    def rewritten(cls, source: Source, plan: Plan, cached: tuple[Array, ...] = ()) -> Self:
        """As Reference has it; `follow` is to be called before ids are fed one by one."""
        from toolkit.compiler.pipeline import rewritten_for

        model = rewritten_for(source, plan, cached)
        masks = masks_of(model.graph)
        nodes = [node for node in model.graph if node.op_type == "TopMask"]
        names = [_given(model, node, f"mask.{i}") for i, node in enumerate(nodes)]
        model.graph.outputs.extend(mask.scores for mask in masks)
        found = cls.of(model)
        found.masks, found._names = masks, names
        found.chunk = int(plan.model["prefill_chunk"])  # it matters what is fed alone
        found.follow([])
        return found

    def follow(self, runs: Sequence[Run]) -> None:
        """Take these masks, of the next positions that are fed alone."""
        self._runs: Iterator[Run] = iter(runs)
        self._seen: list[tuple[float, float]] = []  # of each: share that is equal, and the worst

    @property
    def agreement(self) -> Agreement:
        """With what would have been chosen here, since `follow`."""
        if not self._seen:
            return Agreement()
        equal, worst = zip(*self._seen, strict=True)
        return Agreement(len(equal), float(np.mean(equal)), max(worst))

    def run(self, feeds: dict[str, Any]) -> list[Any]:
        """All outputs, in their order."""
        if feeds[self.roles.tokens].shape[-1] > 1:  # then nothing is left out
            return super().run(feeds | {name: np.ones_like(feeds[name]) for name in self._names})
        given = next(self._runs, [])
        if len(given) != len(self._names):
            what, because = "the plan's choices can't be followed", "its trace lacks some of them"
            raise PocketError(what, because, "run it on another device: --on host")
        pairs = zip(self._names, given, strict=True)
        masks = {name: mask.astype(feeds[name].dtype) for name, mask in pairs}
        shaped = {name: mask.reshape(feeds[name].shape) for name, mask in masks.items()}
        found = super().run(feeds | shaped)
        self._compare(given, dict(zip(self.outputs, found, strict=True)))
        return found

    def _compare(self, given: Run, values: dict[str, Array]) -> None:
        for mask, chosen in zip(self.masks, given, strict=True):
            sizes = mask.sizes(values[str(mask.scores.name)]).reshape(-1).astype(np.float64)
            self._seen.append(_agreement(sizes, chosen, mask.k))


def agreed(found: Agreement, bar: Bar, ok: bool | None) -> dict[str, Any]:
    """For a case that is `ok` where choices are followed: whether these could be, too.

    masks, masks_agree, masks_off  as Agreement has them
    """
    explained = found.explained(bar.roundoff)
    figures = {"masks": found.masks, "masks_agree": found.equal, "masks_off": found.worst}
    return {**figures, "ok": ok if explained else False}


def agreement_lines(case: Mapping[str, Any]) -> Iterator[str]:
    """For people; nothing where a case has no masks."""
    if case.get("masks"):
        share, off = case["masks_agree"], case["masks_off"]
        equal = "all equal" if share == 1 else f"{share:.4%} equal, the rest {off:.0e} off"
        yield f"{case['masks']} masks, {equal}"


def _given(model: ir.Model, node: ir.Node, name: str) -> str:
    """Let an input be what a node makes."""
    v, mask = node.inputs[0], node.outputs[0]
    assert v is not None and v.shape is not None
    shape = ir.Shape([*[1] * (len(v.shape) - 1), v.shape[-1]])
    given = ir.val(name, dtype=v.dtype, shape=shape)
    ir.convenience.replace_all_uses_with(mask, given)
    model.graph.inputs.append(given)
    model.graph.remove(node, safe=True)
    return name


def _agreement(sizes: Array, chosen: Array, k: int) -> tuple[float, float]:
    """The share of what is chosen that would be here, and how far off the rest is."""
    own = np.zeros(len(sizes), bool)
    own[np.argsort(-sizes, kind="stable")[:k]] = True
    taken, left = sizes[chosen & ~own], sizes[own & ~chosen]
    if chosen.sum() != k:
        return 0.0, np.inf
    worse = float(left.max() - taken.min()) if len(left) else 0.0
    return float((own & chosen).sum()) / k, worse / max(float(sizes.max()), 1e-30)
