"""Accesses of a text that no plan has run: the model goes through it layer by layer.

The graph is the one that the plan was lowered from, so weights are as the plan stores them, and
masks are part of it. Each token is decoded by itself, in windows as long as the context.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.ffn import Ffn, find_ffns
from onnx_passes.ir.graph import attribute, constant, needed, operand
from opencl_kernels.device_class import CLASSES
from opencl_kernels.formats import Array
from toolkit.calibration.neurons import Neurons
from toolkit.calibration.walk import Walk, Window
from toolkit.compiler.calibration.ids import calibration_ids
from toolkit.compiler.lowering.records.ahead import residual_of
from toolkit.compiler.options import options_of
from toolkit.compiler.rewriting.passes import rewritten_for
from toolkit.compiler.source import Source
from toolkit.compiler.weights.records import RecordTables, Tabled, tables_of
from toolkit.compiler.weights.table import WeightTable
from toolkit.errors import PocketError
from toolkit.offload.points import by_ids, by_routers
from toolkit.offload.policies import Ints
from toolkit.plan.phase_choice import token_phase
from toolkit.plan.schema import Gather, Plan
from toolkit.simulation.accesses import Access, gathers_of

Tell = Callable[[str], None]
LEAST, MOST = 8, 1024  # tokens; of a text, where nobody says how many


@dataclass(frozen=True)
class Predicted:
    """The predictor of a network in the graph: float32 matrices A [D, R] and B [R, F], bias [F]."""

    A: Array
    B: Array
    bias: Array | None
    threshold: float

    @classmethod
    def of(cls, ffn: Ffn) -> Predicted | None:
        """None where nothing is predicted."""
        if ffn.chosen is None or ffn.scores is None:
            return None
        high = ffn.scores.producer()
        low = None if high is None else needed(high, 0).producer()
        assert high is not None and low is not None
        A, B = (np.asarray(constant(needed(node, 1)), np.float32) for node in (low, high))
        bias = operand(high, 2)
        added = None if bias is None else np.asarray(constant(bias), np.float32).reshape(-1)
        return cls(A, B, added, float(attribute(ffn.chosen, "threshold", 0.0)))

    def scores(self, x_MD: Array) -> Array:
        """By which neurons are selected, float32 [M, F]."""
        scores = x_MD.astype(np.float32) @ self.A @ self.B
        return np.asarray(scores if self.bias is None else scores + self.bias, np.float32)

    def mask(self, x_MD: Array, recall: float) -> Array:
        """Which are computed, bool [M, F]; at the one recall that the graph has."""
        return np.asarray(self.scores(x_MD) > np.float32(self.threshold))


class Text:
    """The accesses of some ids."""

    knows_needed = True
    warm: Mapping[int, Ints] = MappingProxyType({})

    def __init__(self, plan: Plan, source: Source, ids: list[int], tell: Tell) -> None:
        """The model is read when accesses are asked for. Raises PocketError where no text tells
        all of them."""
        check_routed(plan)
        self._plan, self._source, self._ids, self._tell = plan, source, ids, tell
        self.tokens = len(ids)

    def by_table(self) -> Iterator[tuple[int, Sequence[Access]]]:
        """As Accesses has it, in the order of layers."""
        if len(by_ids(self._plan)) < len(self._plan.tables):
            yield from self._by_network()
        yield from of_rows(self._plan, self._ids)

    def _by_network(self) -> Iterator[tuple[int, Sequence[Access]]]:
        self._tell("reading the model")
        model = rewritten_for(self._source, self._plan)
        found, size = self._networks(model), options_of(self._plan).context
        recall = 1.0 if any(each.ffn.chosen for each in found) else None
        parts = [self._ids[at : at + size] for at in range(0, len(self._ids), size)]
        walk = Walk(model, [t.ffn for t in found], [Window(p, recall=recall) for p in parts])
        early: Array | None = None
        for level, tabled in enumerate(found):
            self._tell(f"layer {level + 1} of {len(found)}")
            neurons, predicted = walk.reach(level), Predicted.of(tabled.ffn)
            x, active = _seen(walk, level, neurons)
            scores = _scores(tabled, neurons, predicted, x)
            yield tabled.table, self._of(tabled, scores, active, early)
            early = self._early(walk, tabled, found[level + 1]) if level + 1 < len(found) else None
            walk.leave(level, neurons, predicted)

    def _early(self, walk: Walk, tabled: Tabled, behind: Tabled) -> Array | None:
        """What a prefetch of the network behind this one goes by [T, F], where there is one."""
        phase = token_phase(self._plan)
        ahead = {each.table for each in phase.prefetches()} if phase is not None else set()
        residual, norm = residual_of(tabled.ffn.x), behind.ffn.x.producer()
        predicted = Predicted.of(behind.ffn) if behind.table in ahead else None
        seen = walk.known(str(residual.name)) if residual is not None else None
        if predicted is None or seen is None or norm is None:
            return None
        gamma = np.asarray(constant(needed(norm, len(norm.inputs) - 1)), np.float32)
        mean = np.mean(np.square(seen.astype(np.float32)), axis=-1, keepdims=True)
        x_TD = seen / np.sqrt(mean + np.float32(attribute(norm, "eps"))) * gamma
        return predicted.scores(x_TD)

    def _networks(self, model: ir.Model) -> list[Tabled]:
        """Those whose weights lie in tables, in the order of these; none is computed in part."""
        found = networks_of(self._plan, model).found
        tabled = [each for each in found if isinstance(each, Tabled)]
        assert len(tabled) == len(found)  # else in_part.py
        return tabled

    def _of(
        self, tabled: Tabled, scores_TF: Array, active_TF: Array, early_TF: Array | None
    ) -> list[Access]:
        number, gather = gather_of(self._plan, tabled.table)
        by_all = gather.select.by == "all"
        early = [None] * len(scores_TF) if early_TF is None else list(early_TF)
        return [
            Access(step, number, gather, None if by_all else scores, active, ahead=ahead)
            for step, (scores, active, ahead) in enumerate(
                zip(scores_TF, active_TF, early, strict=True)
            )
        ]


def ids_of(plan: Plan, source: Source, file: Path, count: int | None) -> list[int]:
    """A text's ids. Raises PocketError where there are too few."""
    vocabulary = int(plan.model["vocab_size"])
    hint = "name another text, or put the model's tokenizer.json beside it"
    ids, _ = calibration_ids(source, file, vocabulary, count or MOST, hint)
    if len(ids) < LEAST:
        because = f"it has {len(ids)} tokens, at least {LEAST} are replayed"
        raise PocketError(f"{file} is too short to simulate", because, "give a longer text")
    return ids


def check_routed(plan: Plan) -> None:
    """Raise PocketError where experts are read, of which no text tells."""
    if by_routers(plan):
        because = "what its routers choose is known of a run only"
        hint = "run it with --trace-access FILE, then --trace FILE"
        raise PocketError("a plan with experts in flash replays no text", because, hint)


def networks_of(plan: Plan, model: ir.Model) -> RecordTables:
    """Networks of a plan's graph whose weights lie in its tables, in the order of these.

    Raises PocketError where the plan has others.
    """
    options = options_of(plan)
    layouts = CLASSES[str(plan.profile["class"])].layouts
    weights, whole = WeightTable(options.storage, layouts), options.sparsity == "all"
    tables = tables_of(*find_ffns(model), weights, whole=whole)
    networks = len(plan.tables) - len(by_ids(plan))
    if len(tables.sources) != networks:
        what = f"the plan has {networks} tables of networks, its model {len(tables.sources)}"
        raise PocketError(what, "another version compiled it", "compile the model again")
    return tables


def of_rows(plan: Plan, ids: Sequence[int]) -> Iterator[tuple[int, Sequence[Access]]]:
    """Accesses of embeddings, whose tables lie behind those of networks."""
    for table in sorted(by_ids(plan)):
        number, gather = gather_of(plan, table)
        rows = np.asarray(ids, np.int32).reshape(-1, 1)
        yield table, [Access(i, number, gather, row) for i, row in enumerate(rows)]


def _seen(walk: Walk, level: int, neurons: Neurons) -> tuple[Array, Array]:
    """What a network gets [T, D], and which of its neurons are not zero [T, F]."""
    seen: list[tuple[Array, Array]] = []
    walk.see(level, neurons, lambda x, h: seen.append((x, h != 0)))
    x, active = (np.concatenate(each) for each in zip(*seen, strict=True))
    return x, active


def _scores(tabled: Tabled, neurons: Neurons, predicted: Predicted | None, x_TD: Array) -> Array:
    """By which a gather selects, as lowering has it; what selects all has no use for them."""
    if predicted is not None:
        return predicted.scores(x_TD)
    return neurons.gates(x_TD) if tabled.gated else np.zeros((len(x_TD), tabled.ffn.width))


def gather_of(plan: Plan, table: int) -> tuple[int, Gather]:
    """The gather of a table where one token is fed, and its number."""
    decode = token_phase(plan)
    for number, (phase, gather) in enumerate(gathers_of(plan)):
        if phase is decode and gather.table == table:
            return number, gather
    what = f"the table {plan.tables[table].name} is not read where one token is fed"
    raise PocketError(what, "nothing is known of its accesses", "give a trace: --trace FILE")
