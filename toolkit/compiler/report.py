"""The report of a compile: figures for `--json`, lines for people."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from onnx_passes.ir.dims import unresolved_dims
from toolkit.compiler.budget.told import budget_lines
from toolkit.compiler.calibration.ranges import range_lines
from toolkit.plan.schema import Plan
from toolkit.rss import peak_rss
from toolkit.tables import size


@dataclass(frozen=True)
class CompileReport:
    """The result of a compile; `as_json` has the keys of `pocketcl compile --json`."""

    path: Path
    plan: Plan
    figures: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The figures as the command line prints them."""
        return {"plan": str(self.path), **self.figures}


def figures_of(
    plan: Plan, model: ir.Model, nodes_before: int, passes: list[dict[str, Any]], seconds: float
) -> dict[str, Any]:
    """The figures of `pocketcl compile --json`."""
    return {
        "nodes_before": nodes_before,
        "nodes_after": len(model.graph),
        "unresolved_dims": len(unresolved_dims(model)),
        "passes": passes,
        "dispatches": {phase.name: len(phase.dispatches()) for phase in plan.phases},
        "programs": len(plan.programs),
        "generated_lines": sum(len(program.defines) for program in plan.programs),
        "weight_bytes": sum(weight.bytes for weight in plan.weights),
        "state_bytes": sum(buffer.bytes for buffer in plan.buffers if buffer.kind == "state"),
        "arena_bytes": {phase.name: phase.arena_bytes for phase in plan.phases},
        "arena_lower_bound_bytes": {phase.name: phase.lower_bound_bytes for phase in plan.phases},
        "max_context": plan.model["max_context"],
        "prefill_chunk": plan.model["prefill_chunk"],
        **{key: plan.model[key] for key in ("short_text", "short_prompt") if key in plan.model},
        "device": plan.profile["name"],
        "tuned": sum(bool(program.knobs) for program in plan.programs),
        "seconds": round(seconds, 3),
        "peak_rss_bytes": peak_rss(),
    }


def compile_lines(path: Path, figures: dict[str, Any], named: bool = True) -> Iterator[str]:
    """The report for people; for a folder that the user has not `named`, also how to name one."""
    phases = ", ".join(f"{count} in {name}" for name, count in figures["dispatches"].items())
    arena = max(figures["arena_bytes"].values(), default=0)
    memory = f"states {size(figures['state_bytes'])}, scratch {size(arena)}"
    yield f"{path}: {figures['nodes_before']} nodes → {figures['nodes_after']}, dispatches {phases}"
    if figures.get("embedding"):
        yield f"  tokens are embedded by {figures['embedding']}, which lies beside the model"
    yield f"  weights {size(figures['weight_bytes'])}, {memory}"
    yield from budget_lines(figures)
    if figures.get("max_context"):
        yield f"  context {figures['max_context']} tokens (--max-context)"
    if figures.get("short_text"):
        beyond = f"beyond {figures['short_text']} tokens the model has other rotary tables"
        yield f"  {beyond} (run, chat: --text-length)"
    if figures.get("tuned"):
        yield f"  {figures['tuned']} programs with tuned knobs (--no-tuned)"
    if figures.get("untested"):
        kernels = ", ".join(figures["untested"])
        yield f"  no test at a driver's first use of {kernels}: too large, or without numbers"
    yield from range_lines(figures)
    yield f"  {figures['seconds']:.1f} s, peak memory {size(figures['peak_rss_bytes'])}"
    yield from [] if named else [f"  written to {path}, in the current folder (-o PLAN: elsewhere)"]
