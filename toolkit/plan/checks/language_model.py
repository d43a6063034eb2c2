"""What a plan must have so that a text can be run: symbols, buffers, and phases for each piece."""

from collections.abc import Iterator, Mapping
from typing import Any

from toolkit.errors import PocketError
from toolkit.plan.checks.phases import INT32_MAX
from toolkit.plan.expr import Box
from toolkit.plan.phase_choice import PhaseChoice
from toolkit.plan.reader import damaged
from toolkit.plan.schema import Plan

KINDS = ("language-model",)
SCALARS = ("seq", "past", "rows")
BUFFERS = {"tokens": "i32", "ids": "i32", "logits": "f32"}
SIZES = ("batch", "vocab_size", "max_context", "prefill_chunk")


def model_problems(plan: Plan) -> Iterator[PocketError]:
    """Of a plan whose parts are sound."""
    kind = plan.model.get("kind")
    if kind not in KINDS:
        yield damaged("model.kind", f"unknown kind {kind!r:.40}; known: {', '.join(KINDS)}")
    yield from _size_problems(plan.model)
    yield from _symbol_problems(plan)
    if missing := set(BUFFERS) - {buffer.name for buffer in plan.buffers}:
        yield damaged("buffers", f"a language model needs {sorted(missing)[0]!r}")
    yield from _room_for_ids(plan)
    yield from _phase_problems(plan)


def _size_problems(model: Mapping[str, Any]) -> Iterator[PocketError]:
    for key in SIZES:
        if not is_size(model.get(key)):
            yield damaged(f"model.{key}", f"{model.get(key)!r:.40} is no size")
    if "short_prompt" in model and not is_size(model["short_prompt"]):
        yield damaged("model.short_prompt", f"{model['short_prompt']!r:.40} is no number of tokens")
    eos = model.get("eos")
    if not isinstance(eos, list) or any(type(token) is not int for token in eos):
        yield damaged("model.eos", f"{eos!r:.40} is no list of ids")


def _symbol_problems(plan: Plan) -> Iterator[PocketError]:
    found = {symbol.name: i for i, symbol in enumerate(plan.symbols)}
    for name in (*SCALARS, "start"):
        if name not in found:
            yield damaged("symbols", f"a language model needs {name!r}")
        i, wanted = found[name], None if name in SCALARS else plan.model["batch"]
        if plan.symbols[i].length != wanted:
            because = "it has one value" if wanted is None else f"there are {wanted} texts"
            yield damaged(f"symbols[{i}].length", because)


def _phase_problems(plan: Plan) -> Iterator[PocketError]:
    """Some phase must take any piece that a text may be fed in; narrower ones are used besides."""
    choice, chunk = PhaseChoice(plan), plan.model["prefill_chunk"]
    if not choice.giving("ids"):
        yield damaged("phases", "a language model needs a phase that gives (fetches) 'ids'")
    yield from _piece_problems(plan, choice, "ids", chunk, 1)
    if choice.giving("logits"):
        scored = min(chunk, choice.longest("logits", "seq"))
        yield from _piece_problems(plan, choice, "logits", scored, scored)


def _piece_problems(
    plan: Plan, choice: PhaseChoice, buffer: str, seq: int, rows: int
) -> Iterator[PocketError]:
    """One of the phases that give a buffer takes what all of them together must."""
    past = int(plan.model["max_context"]) - 1
    needed = {"seq": (1, seq), "past": (0, past), "rows": (1, rows)}
    lacking = [_lacking(plan.box(phase), needed) for phase in choice.giving(buffer)]
    if all(lacking):
        at = plan.phases.index(choice.giving(buffer)[-1])  # the widest should have been it
        yield damaged(f"phases[{at}].bounds", lacking[-1])


def _lacking(box: Box, needed: Mapping[str, tuple[int, int]]) -> str:
    for name, (low, high) in needed.items():
        if box[name][0] > low or (box[name][1] or 0) < high:
            return f"{name} must include {low} to {high}"
    return ""


def _room_for_ids(plan: Plan) -> Iterator[PocketError]:
    """The executors write tokens and read ids and logits by these sizes."""
    batch, vocab, context, chunk = (plan.model[key] for key in SIZES)
    rows = max(1, PhaseChoice(plan).longest("logits", "rows"))
    needed = {"tokens": batch * chunk, "ids": batch * (context + 1), "logits": batch * rows * vocab}
    for i, b in enumerate(plan.buffers):
        if b.dtype != BUFFERS.get(b.name, b.dtype):
            yield damaged(f"buffers[{i}].dtype", f"expected {BUFFERS[b.name]}")
        if b.bytes < 4 * needed.get(b.name, 0):
            because = f"{b.bytes} are too few for {needed[b.name]} items"
            yield damaged(f"buffers[{i}].bytes", because)


def is_size(value: Any) -> bool:
    """A number of something, one at least."""
    return type(value) is int and 0 < value <= INT32_MAX
