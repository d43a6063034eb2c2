"""What a plan is made of, as JSON and as lines of text."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toolkit.plan.expr import Expr
from toolkit.plan.figures import dispatches, figures, weight_bytes
from toolkit.plan.schema import (
    Dispatch,
    Gather,
    HostStep,
    Phase,
    Plan,
    Prefetch,
    Step,
    SymbolDecl,
    dispatches_of,
)
from toolkit.tables import section, size, table, wrapped


def plan_report(plan: Plan) -> dict[str, Any]:
    """Figures of a plan."""
    return {
        "model": dict(plan.model),
        "profile": dict(plan.profile),
        "symbols": {s.name: [s.min, s.max] for s in plan.symbols},
        "dispatches": dispatches(plan),
        **figures(plan),
    }


def plan_lines(plan: Plan) -> Iterator[str]:
    """A plan for people: what it is, its buffers, and every step of every phase."""
    report = plan_report(plan)
    facts = [(k, v) for k, v in report["model"].items() if not isinstance(v, dict | list)]
    profile = ", ".join(f"{k} {v}" for k, v in plan.profile.items() if v)
    yield from section("model", table([*facts, ("device", profile)]))
    bounds = [(_named(s), s.kind, f"{s.min} … {s.max}") for s in plan.symbols]
    yield from section("symbols", table(bounds))
    buffers = [(b.name, b.kind, b.dtype, shape(b.shape), size(b.bytes)) for b in plan.buffers]
    weights = ("weights", f"{len(plan.weights)} tensors", "", "", size(weight_bytes(plan)))
    yield from section("buffers", table([*buffers, weights]))
    for phase in plan.phases:
        yield from section(_title(phase), _steps(plan, phase))


def shape(dims: Sequence[Expr]) -> str:
    """[1, 8, 512, 64]."""
    return f"[{', '.join(map(str, dims))}]"


def _named(symbol: SymbolDecl) -> str:
    return symbol.name if symbol.length is None else f"{symbol.name}[{symbol.length}]"


def _title(phase: Phase) -> str:
    bounds = ", ".join(
        f"{k} = {a}" if a == b else f"{a} ≤ {k} ≤ {b}" for k, (a, b) in phase.bounds.items()
    )
    inside = sum(len(dispatches_of(gather)) for gather in phase.gathers())
    gathers = f", {inside} of them inside of {len(phase.gathers())} gathers" if inside else ""
    return f"{phase.name} ({bounds}): {len(phase.dispatches())} dispatches{gathers}"


def _steps(plan: Plan, phase: Phase) -> Iterator[str]:
    """Per step a line that says what runs, and one that says on what."""
    steps = list(_numbered(phase))
    heads = table((number, *_head(plan, step)) for number, step in steps)
    written: dict[int | str, str] = {}  # scratch tensors: the step that wrote them last
    for head, (number, step) in zip(heads, steps, strict=True):
        yield head
        if isinstance(step, Dispatch):
            yield from wrapped(", ".join(_args(plan, step, written)), " " * 6, " " * 8)
            ours = (step.args[i] for i in step.writes)
            written |= {ref[-1]: number for ref in ours if ref[0] == "scratch"}
        if isinstance(step, Gather | Prefetch):
            yield from wrapped(", ".join(_gathered(step, number, written)), " " * 6, " " * 8)


def _numbered(phase: Phase) -> Iterator[tuple[str, Step]]:
    """The steps, and behind a gather what it launches: 4, 4.0, 4.1, 5."""
    for number, step in enumerate(phase.steps):
        yield f"{number}", step
        if isinstance(step, Gather | Prefetch):
            yield from ((f"{number}.{i}", each) for i, each in enumerate(dispatches_of(step)))


def _gathered(
    step: Gather | Prefetch, number: str, written: Mapping[int | str, str]
) -> Iterator[str]:
    """What a gather selects by, what it reads of each record, and what else may choose."""
    if step.select.source is not None:
        yield f"by #{written.get(step.select.source[-1], '?')}"
    if isinstance(step, Prefetch):
        yield "reads begin, and nobody waits for them"
        return
    yield f"{' and '.join(step.parts)} of each record"
    if step.choose is not None:
        yield f"{number}.0 chooses where all lie in memory"
    if step.tile:
        yield f"{step.tile} records at once"


def _head(plan: Plan, step: Step) -> tuple[str, ...]:
    if isinstance(step, Dispatch):
        best = step.variants[0]
        return step.name, plan.programs[best.program].kernel, shape(best.global_size)
    if isinstance(step, HostStep):
        return ", ".join(_args(plan, step, {})), step.op, ""
    if isinstance(step, Prefetch):
        return step.name, "prefetch", plan.tables[step.table].name
    if isinstance(step, Gather):
        return step.name, f"gather {step.select.by}", plan.tables[step.table].name
    return "", step.kind, ""


def _args(plan: Plan, step: Dispatch | HostStep, written: Mapping[int | str, str]) -> Iterator[str]:
    """What a dispatch reads (#3: what step 3 wrote) and, after an arrow, what it hands on."""
    for i, (kind, *index) in enumerate(step.args):
        if kind in ("weight", "buffer"):
            named = plan.weights if kind == "weight" else plan.buffers
            yield f"{'→ ' if i in step.writes else ''}{named[index[0]].name}"
        elif kind == "scratch" and i not in step.writes:
            yield f"#{written.get(index[0], '?')}"
        elif kind in ("ticket", "slots", "rule"):
            yield f"{'→ ' if i in step.writes else ''}{kind}"
