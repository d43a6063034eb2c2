"""ONNX Runtime with what a plan has chosen: masks of tables are given, not computed.

Where two elements are nearly as great, or a score lies beside its threshold, rounding says which of
them a plan takes, and all that follows differs though no kernel is wrong. So the reference takes
the plan's own choices, by the trace of its gathers, and says whether each could be: what it left
may be greater than what it took, or beyond the threshold, by no more than rounding makes of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import onnx_ir as ir

from opencl_kernels.formats import Array
from toolkit.compiler.calibration.reference import Reference
from toolkit.compiler.calibration.routers import MASKS, Router, mask_of, routers_of
from toolkit.compiler.source import Source
from toolkit.errors import PocketError
from toolkit.evaluation.judging import Bar
from toolkit.evaluation.near_ties import OF_MASKS, ROUNDOFFS
from toolkit.offload.orders import order_of
from toolkit.plan.schema import Gather, Phase, Plan

# Where earlier choices are the same, scores are off by less than 1 of a half's roundoffs, of their
# greatest: at 11 choices of neurons that rounding changed, in a decoder of five layers.
OF_THRESHOLDS = ROUNDOFFS
FOLLOWS = "masks.follow"  # the input that says whether masks are given


class Chosen(NamedTuple):
    """What a gather has chosen."""

    by: str  # a selector
    source: str  # the name of what it chose by
    mask: Array  # bool by index
    free: Array  # bool by index: taken in any case, so that there was no choice


Run = list[Chosen]


@dataclass(frozen=True)
class Agreement:
    """Of masks that a plan has chosen, with those that ONNX Runtime would have.

    masks   how many there were; equal: of all that they take, or of neurons, what both do
    others  how many choices differ
    worst   by how much what a mask left was greater than what it took instead, or a score beyond
            the threshold, as a share of the greatest
    most    of that, what rounding explains, in unit roundoffs
    """

    masks: int = 0
    equal: float = 1.0
    others: int = 0
    worst: float = 0.0
    most: int = OF_MASKS

    def explained(self, roundoff: float) -> bool:
        """Whether rounding explains all differences; `roundoff`: of what a plan stores."""
        return self.worst <= self.most * roundoff


class Trace:
    """The masks that an executor chooses, from the file of its gathers."""

    def __init__(self, path: Path, plan: Plan, file: Path) -> None:
        """`path`: of the plan; `file`: of the trace, which the executor writes."""
        self._file, self._before = file, b""
        orders = [order_of(path, plan, table) for table in plan.tables]
        gathers = [(phase, gather) for phase in plan.phases for gather in phase.gathers()]
        self._masks = {
            number: (gather.select.by, source, orders[gather.table])
            for number, (phase, gather) in enumerate(gathers)
            if (source := source_of(phase, gather)) is not None
        }
        self._counts = [plan.tables[gather.table].count for _, gather in gathers]

    def begin(self) -> None:
        """What comes from here on is asked for."""
        self._before = self._file.read_bytes()

    def runs(self) -> list[Run]:
        """Of each run since then that chose anything; a process that began anew has a new file."""
        new = self._file.read_bytes().removeprefix(self._before)
        lines = [json.loads(line) for line in new.splitlines()]
        found = dict[int, Run]()
        for each in lines:
            if each.get("g") in self._masks and each["t"] >= 0:
                found.setdefault(each["t"], []).append(
                    self._mask(each["g"], each["sel"], each.get("dense", 0))
                )
        return list(found.values())

    def _mask(self, gather: int, records: list[int], dense: int) -> Chosen:
        by, source, order = self._masks[gather]
        mask, free = np.zeros((2, self._counts[gather]), bool)
        mask[records if order is None else order[records]] = True
        free[slice(dense) if order is None else order[:dense]] = True
        return Chosen(by, source, mask, free)


class Followed(Reference):
    """The final graph of a plan, whose masks come from outside where one position is fed.

    Until something is followed it computes them, as Reference does.
    """

    masks: list[Router]
    _names: list[str]

    @classmethod
    def rewritten(cls, source: Source, plan: Plan, cached: tuple[Array, ...] = ()) -> Self:
        """As Reference has it; of masks that are to be followed, it notes no choices."""
        from toolkit.compiler.rewriting.passes import rewritten_for

        model = rewritten_for(source, plan, cached)
        told = {source_of(phase, gather) for phase in plan.phases for gather in phase.gathers()}
        nodes = [node for node in model.graph if _is_told(node, told)]
        rest = [
            mask_of(node) for node in model.graph if node.op_type in MASKS and node not in nodes
        ]
        masks = [mask_of(node) for node in nodes]
        follows = ir.val(FOLLOWS, dtype=ir.DataType.BOOL, shape=ir.Shape([]))
        model.graph.inputs.append(follows)
        names = [_given(model, node, follows, f"mask.{i}") for i, node in enumerate(nodes)]
        routers = [*routers_of(model.graph), *rest]
        found = cls.noting(model, plan, routers, (mask.scores for mask in masks))
        found.masks, found._names = masks, names
        found.follow(None)
        return found

    def follow(self, runs: Sequence[Run] | None) -> None:
        """Take these masks, of the next positions that are fed alone; None: follow nothing."""
        self._runs: Iterator[Run] | None = None if runs is None else iter(runs)
        self._seen: list[Agreement] = []  # of each mask

    @property
    def agreement(self) -> Agreement:
        """With what would have been chosen here, since `follow`."""
        if not self._seen:
            return Agreement()
        equal, others = (
            sum(s) for s in zip(*((a.equal, a.others) for a in self._seen), strict=True)
        )
        worst = max(self._seen, key=lambda each: each.worst / each.most)
        count = len(self._seen)
        return Agreement(count, equal / count, int(others), worst.worst, worst.most)

    def run(self, feeds: dict[str, Any]) -> list[Any]:
        """All outputs, in their order."""
        # of several positions nothing is left out, and masks that are computed say so
        if self._runs is None or feeds[self.roles.tokens].shape[-1] > 1:
            return super().run(feeds | {FOLLOWS: np.asarray(False)})
        given = self._of_masks(next(self._runs, []))
        if given is None:
            what, because = "the plan's choices can't be followed", "its trace lacks some of them"
            raise PocketError(what, because, "run it on another device: --on host")
        pairs = zip(self._names, given, strict=True)
        masks = {name: each.mask.astype(feeds[name].dtype) for name, each in pairs}
        shaped = {name: mask.reshape(feeds[name].shape) for name, mask in masks.items()}
        found = super().run(feeds | shaped | {FOLLOWS: np.asarray(True)})
        self._compare(given, dict(zip(self.outputs, found, strict=True)))
        return found

    def _of_masks(self, run: Run) -> Run | None:
        """Those by magnitude in order, others by the name of their scores; None: one lacks."""
        greatest = iter([each for each in run if each.by == "top"])
        above = {each.source: each for each in run if each.by == "above"}
        found = [
            next(greatest, None) if mask.threshold is None else above.get(str(mask.scores.name))
            for mask in self.masks
        ]
        given = [mask for mask in found if mask is not None]
        return given if len(given) == len(self.masks) else None

    def _compare(self, given: Run, values: dict[str, Array]) -> None:
        for mask, chosen in zip(self.masks, given, strict=True):
            sizes = mask.sizes(values[str(mask.scores.name)]).reshape(-1).astype(np.float64)
            self._seen.append(_agreement(sizes, chosen, mask))


def agreed(found: Agreement, bar: Bar, ok: bool | None) -> dict[str, Any]:
    """For a case that is `ok` where choices are followed: whether these could be, too.

    masks, masks_agree, masks_off  as Agreement has them
    near_ties                      how many choices differ as rounding explains
    """
    explained = found.explained(bar.roundoff)
    figures = {"masks": found.masks, "masks_agree": found.equal, "masks_off": found.worst}
    ties = found.others if explained else 0
    return {**figures, "near_ties": ties, "ok": ok if explained else False}


def agreement_lines(case: Mapping[str, Any]) -> Iterator[str]:
    """For people; nothing where a case has no masks."""
    if case.get("masks"):
        share, off = case["masks_agree"], case["masks_off"]
        rest = f"{share:.4%} equal, the rest {off:.0e} off: "
        why = f"{case['near_ties']} near ties" if case["near_ties"] else "no rounding explains it"
        yield f"{case['masks']} masks, " + ("all equal" if share == 1 else rest + why)


def _given(model: ir.Model, node: ir.Node, follows: ir.Value, name: str) -> str:
    """Let an input take the place of what a node makes, where it is followed."""
    v, mask = node.inputs[0], node.outputs[0]
    assert v is not None and v.shape is not None
    shape = ir.Shape([*[1] * (len(v.shape) - 1), v.shape[-1]])
    given = ir.val(name, dtype=v.dtype, shape=shape)
    model.graph.inputs.append(given)
    either = ir.node("Where", [follows, given, given])
    taken = either.outputs[0]
    taken.name, taken.type, taken.shape = f"{name}.taken", v.type, v.shape
    ir.convenience.replace_all_uses_with(mask, taken)
    either.replace_input_with(2, mask)
    model.graph.insert_after(node, either)
    return name


def source_of(phase: Phase, gather: Gather) -> str | None:
    """The name of what a gather chooses by, where answers depend on its choice."""
    source = gather.select.source
    if gather.select.by not in ("top", "above") or source is None or source[0] != "scratch":
        return None
    return phase.scratch[int(source[-1])].name


def _is_told(node: ir.Node, sources: Set[str | None]) -> bool:
    """Whether a plan's gather chooses in a node's place."""
    if node.op_type == "Above":
        return node.inputs[0] is not None and node.inputs[0].name in sources
    return node.op_type == "TopMask"


def _agreement(sizes: Array, chosen: Chosen, mask: Router) -> Agreement:
    """The share of what is chosen that would be here, and how far off the rest is."""
    if mask.threshold is None:
        return _of_greatest(sizes, chosen.mask, mask.k)
    apart = np.abs(sizes - float(np.float32(mask.threshold)))
    differs = ((sizes > np.float32(mask.threshold)) != chosen.mask) & ~chosen.free
    worst = float(apart[differs].max(initial=0.0)) / max(float(np.abs(sizes).max()), 1e-30)
    return Agreement(1, float(np.mean(~differs)), int(differs.sum()), worst, OF_THRESHOLDS)


def _of_greatest(sizes: Array, chosen: Array, k: int) -> Agreement:
    own = np.zeros(len(sizes), bool)
    own[np.argsort(-sizes, kind="stable")[:k]] = True
    taken, left = sizes[chosen & ~own], sizes[own & ~chosen]
    if chosen.sum() != k:
        return Agreement(1, 0.0, k, np.inf)
    worse = float(left.max() - taken.min()) if len(left) else 0.0
    equal = float((own & chosen).sum()) / k
    return Agreement(1, equal, len(left), worse / max(float(sizes.max()), 1e-30))
