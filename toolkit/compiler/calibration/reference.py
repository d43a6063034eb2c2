"""The oracle: ONNX Runtime on a decoder, original or after any pass, with its own KV cache."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnx_passes import intake
from onnx_passes.analysis.fixed_sizes import fixed_sizes
from onnx_passes.analysis.roles import Roles, has_roles, roles_of
from onnx_passes.ir.states import STATE_OUT, before
from onnx_passes.widen_floats import widen_floats
from toolkit.compiler.calibration.feeds import Feeds, slots_of
from toolkit.compiler.calibration.routers import MASKS, Router, masks_of, routers_of
from toolkit.compiler.rewriting.passes import rewritten_for
from toolkit.compiler.source import Source, session_of
from toolkit.onnx_runtime import Refused, numpy_type, run_session
from toolkit.plan.phase_choice import pieces
from toolkit.plan.schema import Plan

Array = npt.NDArray[Any]
_LAST_ONLY = "computes only the last row of a call: to score a text, it was fed token by token"


class Choices(NamedTuple):
    """What a router chose by for tokens of a text that follow one another."""

    mixture: int  # which of the model's routers, or masks, from 0
    router: Router
    start: int  # the first token's place in the text
    scores: Array  # [tokens, E]


class Reference:
    """A decoder in ONNX Runtime; ids continue the text in its cache and extend it."""

    def __init__(self, session: Any, model: ir.Model) -> None:
        """Roles and shapes come from `model`; `session` runs it, or an earlier form of it."""
        self.session, self.roles = session, roles_of(model)
        found = session.get_inputs()
        types = {i.name: numpy_type(i.type) for i in found}
        self.feeds = Feeds.of(model, types, {i.name: i.shape for i in found})
        self.outputs = [output.name for output in session.get_outputs()]
        self.caches = _caches(self.roles, self.outputs)
        self.past, self.last_only = 0, False
        self.pieces: Callable[[int], Iterable[int]] | None = None  # of so many ids, as a plan's
        self.most = 0  # ids that its states have room for at once; 0: as many as come
        self.notes: list[str] = []
        self.routers: list[Router] = []  # those whose scores are among the outputs
        self.reset()

    @classmethod
    def original(cls, source: Source, threads: int = 0) -> Self:
        """The exporter's file; 0 threads lets ONNX Runtime choose.

        It is run as it is, unless it fixes sizes of its inputs: then with these left open; or is
        more than one file: then as one graph; or is in bfloat16, for which ONNX Runtime has few
        kernels: then in float32, if it is refused otherwise.
        """
        try:
            return cls._as_it_is(source, threads)
        except Refused:
            if not _has_bfloat16(source.model):
                raise
        return cls._widened(source, threads)

    @classmethod
    def _as_it_is(cls, source: Source, threads: int) -> Self:
        model = source.model
        intake(model)
        fixed, embedding = fixed_sizes(model), source.embedding
        if not fixed:
            found = cls(source.session(threads), model)
        else:
            opened = session_of(_opened(source.model), str(source.onnx_path), threads)
            found = cls(opened, model)
            found.notes.append(f"fixes sizes ({fixed}): it was run with these left open")
        if embedding is not None:
            found.notes.append(f"takes embeddings: it was run as one graph with {embedding.name}")
        return found

    @classmethod
    def _widened(cls, source: Source, threads: int) -> Self:
        model, wide = source.model, source.model
        intake(model)
        widen_floats(wide)
        found = cls(session_of(_opened(wide), str(source.onnx_path), threads), model)
        found.notes.append("is in bfloat16: it was run in float32, with the same weights")
        return found

    @classmethod
    def rewritten(cls, source: Source, plan: Plan, cached: tuple[Array, ...] = ()) -> Self:
        """The final graph that the plan was lowered from; it notes what its routers choose by.

        cached  of tables, which of their elements lie in memory, as Facts has it
        """
        model = rewritten_for(source, plan, cached)
        return cls.noting(model, plan, [*routers_of(model.graph), *masks_of(model.graph)])

    @classmethod
    def noting(
        cls, model: ir.Model, plan: Plan, routers: list[Router], others: Iterable[ir.Value] = ()
    ) -> Self:
        """A plan's final graph, of which it notes what these choose by; `others`: more outputs."""
        scores = dict.fromkeys([*(router.scores for router in routers), *others])
        model.graph.outputs.extend(v for v in scores if not v.is_graph_output())
        found, context = cls.of(model), int(plan.model["max_context"])
        found.routers = routers
        if any(node.op_type in MASKS for node in model.graph):  # they mask single tokens only
            found.pieces = partial(pieces, plan)
        if any((s.capacity or context) < context for s in plan.states):
            found.most = int(plan.model["prefill_chunk"])  # beside a window, a ring holds so many
        return found

    @classmethod
    def of(cls, model: ir.Model, taken_in: ir.Model | None = None) -> Self:
        """A model in memory, after any pass.

        `taken_in` is the same model after the intake, for the roles of a `model` without them.
        """
        model.ir_version = 10  # the first version with function overloads
        known = model if taken_in is None or has_roles(model) else taken_in
        return cls(session_of(model, "the rewritten graph"), known)

    def reset(self) -> None:
        """Empty the cache."""
        self.past = 0
        self.choices: list[Choices] = []
        self.state = {past: self.feeds.empty(past) for past in self.caches}

    def score(self, ids: list[int]) -> npt.NDArray[np.float32]:
        """Feed ids after what is cached; logits [len(ids), V].

        Feeds one id at a time if the graph computes only the logits of the last one.
        """
        before = self.past, self.state, self.choices
        pieces = -(-len(ids) // self.most) if self.most else 1
        rows = np.concatenate([self._feed_at_once(part) for part in _split(ids, pieces)])
        if not self.last_only:
            return rows
        self.past, self.state, self.choices = before
        if _LAST_ONLY not in self.notes:
            self.notes.append(_LAST_ONLY)
        return np.concatenate([self.feed([token]) for token in ids])

    def feed(self, ids: list[int]) -> npt.NDArray[np.float32]:
        """Feed ids after what is cached; logits [len(ids), V], or some rows that end in the last.

        At once, unless it matters how many a plan feeds at a time.
        """
        sizes = self.pieces(len(ids)) if self.pieces else _sizes(len(ids), self.most or len(ids))
        ends = list(itertools.accumulate(sizes, initial=0))
        return [self._feed_at_once(ids[a:b]) for a, b in itertools.pairwise(ends)][-1]

    def _feed_at_once(self, ids: list[int]) -> npt.NDArray[np.float32]:
        feeds = self.feeds.all(ids, self.past, self.state)
        values = dict(zip(self.outputs, self.run(feeds), strict=True))
        self.state = {past: values[present] for past, present in self.caches.items()}
        self.choices = [*self.choices, *self._chosen(values, len(ids))]
        self.past += len(ids)
        logits = values[self.roles.logits]
        rows = np.asarray(logits, dtype=np.float32).reshape(-1, logits.shape[-1])
        self.last_only = self.last_only or len(rows) < len(ids)
        return rows

    def run(self, feeds: dict[str, Any]) -> list[Any]:
        """All outputs, in their order; caches may be of any kind that `run` takes."""
        return list(run_session(self.session, feeds))

    def _chosen(self, values: dict[str, Array], count: int) -> Iterator[Choices]:
        """By which scores the routers chose for so many tokens; some only see the last of them."""
        for mixture, router in enumerate(self.routers):
            scores = router.sizes(values[str(router.scores.name)])
            rows = scores.reshape(-1, scores.shape[-1])[-count:]
            if router.is_mask and count > 1:
                continue  # it masks single tokens only
            yield Choices(mixture, router, self.past + count - len(rows), rows)


def _split(ids: list[int], pieces: int) -> list[list[int]]:
    """Pieces whose sizes differ by one at most."""
    ends = [len(ids) * n // pieces for n in range(pieces + 1)]
    return [ids[a:b] for a, b in itertools.pairwise(ends)]


def _sizes(count: int, most: int) -> list[int]:
    return [min(most, count - at) for at in range(0, count, most)]


def _has_bfloat16(model: ir.Model) -> bool:
    inputs = (*model.graph.inputs, *model.graph.initializers.values())
    return any(value.dtype == ir.DataType.BFLOAT16 for value in inputs)


def _caches(roles: Roles, outputs: list[str]) -> dict[str, str]:
    """Input -> output of every cache: the exporter's pairs, or states after `kv_in_place`."""
    pairs = {past: present for past, present in roles.cache if present in outputs}
    states = {before(o): o for o in outputs if o.startswith(STATE_OUT)}
    return pairs | states


def _opened(model: ir.Model) -> ir.Model:
    """The model without the sizes that it declares, except those of its weights."""
    slots = slots_of(model)
    for value in (*model.graph.inputs, *model.graph.outputs):
        # heads and widths of caches stay, from which ONNX Runtime infers others
        kept = {*range(1, 4)} - {slots[value.name]} if value.name in slots else set[int]()
        dims = [d if axis in kept else None for axis, d in enumerate(value.shape or ())]
        value.shape = None if value.shape is None else ir.Shape(dims)
    for node in model.graph.all_nodes():
        for output in node.outputs:
            if not output.is_graph_output():
                output.shape = None
    return model
