"""What a model or a plan is made of, as lines of text and as JSON."""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from toolkit.compiler.memory import phases as memory
from toolkit.compiler.memory.phases import figures
from toolkit.errors import PocketError
from toolkit.nearest import unknown
from toolkit.plan.expr import Expr
from toolkit.plan.figures import dispatches, weight_bytes
from toolkit.plan.load import load_plan
from toolkit.plan.schema import PLAN_FILE, Dispatch, HostStep, Phase, Plan, Step

WIDTH = 98  # of a line


def is_plan(path: Path) -> bool:
    """Whether this is a plan's folder (else it is taken for a model)."""
    return (path / PLAN_FILE).exists()


def inspect(
    path: Path, view: str | None, name: str | None, progress: Callable[[str], None]
) -> tuple[dict[str, Any], list[str]]:
    """Figures and lines of `pocketcl inspect PATH`; `view` is one of its flags, `name` a pass."""
    if is_plan(path):
        return _inspect_plan(path, view, name)
    if view == "memory":
        hint = f"pocketcl compile {path} -o m.plan, then pocketcl inspect m.plan --memory"
        raise PocketError(f"{path} is a model", "its memory is placed by the compile", hint)
    progress("reading the model, running the passes")
    if name is not None:
        missed = why(path, name)
        return {"pass": name, "why": missed}, missed
    report = model_report(path)
    if view == "graph":
        return {"graph": report["graph"]}, list(graph_lines(report))
    if view == "unsupported":
        return {"unsupported": report["unsupported"]}, list(unsupported_lines(report))
    return report, list(model_lines(report))


def _inspect_plan(
    path: Path, view: str | None, name: str | None
) -> tuple[dict[str, Any], list[str]]:
    if name is not None or view in ("unsupported", "graph"):
        flag = "--why" if name is not None else f"--{view}"
        raise PocketError(
            f"{path} is a plan, {flag} is asked of a model",
            "a plan has steps; the graph and the passes are the model's",
            f"pocketcl inspect MODEL {flag}{f' {name}' if name else ''}",
        )
    plan = load_plan(path)
    if view == "memory":
        return figures(plan), memory.report(plan).splitlines()
    return plan_report(plan), list(plan_lines(plan))


def model_report(path: Path) -> dict[str, Any]:
    """Roles, symbols, passes and unsupported nodes of a model."""
    from toolkit.compiler.pipeline import inspect_model
    from toolkit.compiler.source import load_source

    report: dict[str, Any] = inspect_model(load_source(path))
    return report


def why(path: Path, name: str) -> list[str]:
    """Why a pass's rules left nodes alone."""
    import onnx_passes
    from toolkit.compiler.damage import blaming
    from toolkit.compiler.options import choose
    from toolkit.compiler.source import load_source

    known = [run.__name__ for run in onnx_passes.PASSES]
    if name not in known:
        raise unknown(
            f"no pass is called '{name}'",
            name,
            known,
            f"pocketcl inspect {path} shows what each did",
        )
    source = load_source(path)
    model, options = source.model, choose(source, {"class": "cpu"})
    model.metadata_props.update(options.facts)
    with blaming(source.onnx_path):
        lines = onnx_passes.why(model, name)
    return lines or [f"{name}: nothing was missed"]


def model_lines(report: dict[str, Any]) -> Iterator[str]:
    """The report of a model for people."""
    yield from _section("roles", _pairs(report["roles"]))
    yield from _section("symbols", [", ".join(report["symbols"])])
    passes = [(p["name"], f"{p['rewrites']:5}", f"{p['seconds']:.2f} s") for p in report["passes"]]
    yield from _section("passes", table(passes))
    yield from unsupported_lines(report)


def unsupported_lines(report: dict[str, Any]) -> Iterator[str]:
    """One line per node that no kernel runs."""
    rows = [(n["op"], n["name"], str(n["shape"]), n["reason"]) for n in report["unsupported"]]
    yield from _section("nodes without a kernel", table(rows) or ["none"])


def graph_lines(report: dict[str, Any]) -> Iterator[str]:
    """Every node as `outputs = Op(inputs)`; what is too long for a line goes on in the next."""
    for line in report["graph"]:
        outputs, _, call = line.partition(" = ")
        if len(line) <= WIDTH:
            yield line
        else:
            yield outputs
            yield from _wrapped(f"= {call}", "    ", "      ")


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
    yield from _section("model", table([*facts, ("device", profile)]))
    bounds = [(s.name, s.kind, f"{s.min} … {s.max}") for s in plan.symbols]
    yield from _section("symbols", table(bounds))
    buffers = [(b.name, b.kind, b.dtype, shape(b.shape), size(b.bytes)) for b in plan.buffers]
    weights = ("weights", f"{len(plan.weights)} tensors", "", "", size(weight_bytes(plan)))
    yield from _section("buffers", table([*buffers, weights]))
    for phase in plan.phases:
        yield from _section(_title(phase), _steps(plan, phase))


def compile_lines(path: Path, figures: dict[str, Any], named: bool = True) -> Iterator[str]:
    """What `pocketcl compile` says at its end; of a folder that nobody `named` also how to."""
    phases = ", ".join(f"{count} in {name}" for name, count in figures["dispatches"].items())
    arena = max(figures["arena_bytes"].values(), default=0)
    memory = f"states {size(figures['state_bytes'])}, scratch {size(arena)}"
    yield f"{path}: {figures['nodes_before']} nodes → {figures['nodes_after']}, dispatches {phases}"
    yield f"  weights {size(figures['weight_bytes'])}, {memory}"
    if figures.get("max_context"):
        yield f"  context {figures['max_context']} tokens (--max-context)"
    if figures.get("tuned"):
        yield f"  {figures['tuned']} programs with tuned knobs (--no-tuned)"
    yield f"  {figures['seconds']:.1f} s, peak memory {size(figures['peak_rss_bytes'])}"
    yield from [] if named else [f"  written to {path}, in the current folder (-o PLAN: elsewhere)"]


def shape(dims: Sequence[Expr]) -> str:
    """[1, 8, 512, 64]."""
    return f"[{', '.join(map(str, dims))}]"


def size(count: int) -> str:
    """Bytes for people: 12.3 MB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"


def table(rows: Iterable[Sequence[Any]]) -> list[str]:
    """Columns, each as wide as its widest cell."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield f"{title}"
    yield from (f"  {line}" for line in lines)
    yield ""


def _pairs(facts: dict[str, Any]) -> list[str]:
    return table(
        (
            key,
            f"{len(value)} pairs: {value[0][0]} …" if isinstance(value, list) and value else value,
        )
        for key, value in facts.items()
    )


def _title(phase: Phase) -> str:
    bounds = ", ".join(
        f"{k} = {a}" if a == b else f"{a} ≤ {k} ≤ {b}" for k, (a, b) in phase.bounds.items()
    )
    return f"{phase.name} ({bounds}): {len(phase.dispatches())} dispatches"


def _steps(plan: Plan, phase: Phase) -> Iterator[str]:
    """Per step a line that says what runs, and one that says on what."""
    heads = table((f"{i}", *_head(plan, step)) for i, step in enumerate(phase.steps))
    written: dict[int | str, int] = {}  # scratch tensors: the step that wrote them last
    for number, (head, step) in enumerate(zip(heads, phase.steps, strict=True)):
        yield head
        if isinstance(step, Dispatch):
            yield from _wrapped(", ".join(_args(plan, step, written)), " " * 6, " " * 8)
            ours = (step.args[i] for i in step.writes)
            written |= {ref[-1]: number for ref in ours if ref[0] == "scratch"}


def _head(plan: Plan, step: Step) -> tuple[str, ...]:
    if isinstance(step, Dispatch):
        best = step.variants[0]
        return step.name, plan.programs[best.program].kernel, shape(best.global_size)
    if isinstance(step, HostStep):
        return plan.buffers[step.buffer].name, step.op, ""
    return "", step.kind, ""


def _args(plan: Plan, step: Dispatch, written: dict[int | str, int]) -> Iterator[str]:
    """What a dispatch reads (#3: what step 3 wrote) and, after an arrow, what it hands on."""
    for i, (kind, *index) in enumerate(step.args):
        if kind in ("weight", "buffer"):
            named = plan.weights if kind == "weight" else plan.buffers
            yield f"{'→ ' if i in step.writes else ''}{named[index[0]].name}"
        elif kind == "scratch" and i not in step.writes:
            yield f"#{written.get(index[0], '?')}"


def _wrapped(text: str, first: str, more: str) -> list[str]:
    """Lines of at most WIDTH, broken at spaces only: a name stays whole."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=more,
        break_long_words=False,
        break_on_hyphens=False,
    )
