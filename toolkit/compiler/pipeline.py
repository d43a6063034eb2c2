"""Compile: import -> passes -> lowering -> memory -> plan."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

import onnx_passes
from onnx_passes.analysis.fixed_sizes import exported_for, fixed_sizes
from onnx_passes.analysis.roles import roles_of
from onnx_passes.ir.dims import unresolved_dims
from onnx_passes.ir.graph import DOMAIN, explaining
from opencl_kernels.kernel import source_text
from toolkit.compiler.cooperative import with_steps
from toolkit.compiler.damage import blaming
from toolkit.compiler.kinds.language_model import assemble
from toolkit.compiler.lowering.table import HANDLERS, unsupported
from toolkit.compiler.options import Options, choose
from toolkit.compiler.origin import options_of
from toolkit.compiler.source import Source, page_release
from toolkit.compiler.tuned import tuned_table
from toolkit.compiler.weights.table import WeightTable
from toolkit.devices.resolve import resolve_device
from toolkit.errors import PocketError
from toolkit.foreign.find_model import plan_name
from toolkit.plan.schema import Plan
from toolkit.plan.write import check_out, write_plan
from toolkit.rss import peak_rss

Progress = Callable[[str], None]
DOMAINS = ("", "ai.onnx", "com.microsoft", DOMAIN)
SHAPE_OPS = frozenset(
    [
        *("Shape", "Gather", "Unsqueeze", "Squeeze", "Concat", "Slice", "Range", "Expand", "Where"),
        *("Equal", "Cast", "ConstantOfShape", "Constant", "LessOrEqual", "And", "Not", "Add"),
    ]
)
NO_CACHE = (
    "the model keeps no KV cache",
    "a decoder of text takes past keys and values and gives new ones; this model does not",
    "export a decoder with --task text-generation-with-past; of any other model "
    "pocketcl inspect MODEL --unsupported lists what has no kernel",
)


@dataclass(frozen=True)
class CompileReport:
    """What a compile did; `as_json` has the keys of `pocketcl compile --json`."""

    path: Path
    plan: Plan
    figures: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The figures as the command line prints them."""
        return {"plan": str(self.path), **self.figures}


def compile(
    source: Source,
    out: Path | None = None,
    *,
    device: str | None = None,
    serial: str | None = None,
    tuned: bool = True,
    progress: Progress | None = None,
    **chosen: Any,
) -> CompileReport:
    """Compile a model to a plan folder; `progress` is told what goes on.

    What is `chosen` are options of `compiler.options.choose`: weights, max_context, group, …
    out  the plan's folder; by default NAME.plan in the current one
    serial  of `device="phone"`: which one
    tuned  use knobs that `pocketcl tune` found for the device
    """
    tell = progress or (lambda _: None)
    out = check_out(Path(plan_name(source.onnx_path)) if out is None else out)
    profile = resolve_device(device, serial)  # of a phone it may build the runner first
    started = time.perf_counter()
    options = choose(source, profile, **chosen)
    tell("reading the model")
    with blaming(source.onnx_path):
        model = source.model
        forget, nodes_before = page_release(model), len(model.graph)
        passes = list(_rewrite(model, options, tell))
    with _reading_weights(source), blaming(source.onnx_path):
        tell("choosing kernels and placing memory")
        table = WeightTable(options.storage, forget)
        knobs = tuned_table(profile["name"]) if tuned else {}
        plan = assemble(model, source, profile, options, table, knobs)
    kernels = {
        f"kernels/{name}": source_text(name)
        for name in sorted({Path(p.source).name for p in plan.programs})
    }
    plan, kernels, alone = with_steps(plan, kernels)
    doing = "quantising and packing weights" if options.weights == "e0m4" else "packing weights"
    tell(doing)
    with _reading_weights(source):
        told = _packing(tell, doing)
        plan = write_plan(out, plan, table.sources, kernels, dict(source.files), told)
    figures = _figures(plan, model, nodes_before, passes, time.perf_counter() - started)
    figures["cooperative"] = alone or "decode"
    return CompileReport(out, plan, figures)


@contextmanager
def _reading_weights(source: Source) -> Iterator[None]:
    """What lazy weights refuse, and damage that only shows when they are read."""
    try:
        yield
    except PocketError:
        raise
    except onnx_passes.GraphError as error:
        raise PocketError(error.what, error.because, error.hint) from None
    except ValueError as error:
        hint = "check the file with onnx.checker, or export it again"
        raise PocketError(
            f"the weights of {source.onnx_path} cannot be read", error, hint
        ) from error


def rewritten_for(source: Source, plan: Plan) -> ir.Model:
    """The final graph that a plan was lowered from, made again from its source."""
    return rewrite_with(source, options_of(plan))


def rewrite_with(source: Source, options: Options) -> ir.Model:
    """A model after all passes."""
    model = source.model
    with blaming(source.onnx_path):
        for _ in _rewrite(model, options, lambda _: None):
            pass
    return model


def inspect_model(source: Source) -> dict[str, Any]:
    """Roles, symbols, passes and nodes without a kernel of a model, for `pocketcl inspect`."""
    model = source.model
    options = choose(source, {"class": "cpu"})
    with blaming(source.onnx_path):
        passes = [
            {"name": n, "rewrites": r, "seconds": s}
            for n, r, s in _passes(model, options, lambda _: None)
        ]
        roles = roles_of(model)
    left = ((node, unsupported(node, roles.tokens)) for node in model.graph)
    return {
        "roles": {"tokens": roles.tokens, "mask": roles.mask, "positions": roles.positions}
        | {"logits": roles.logits, "cache": [list(pair) for pair in roles.cache]},
        "symbols": model.metadata_props["pocket.symbols"].split(","),
        "passes": passes,
        "unsupported": [_row(node, reason) for node, reason in left if reason],
        "graph": [
            f"{', '.join(v.name or '' for v in n.outputs)} = {_call(n)}" for n in model.graph
        ],
    }


def _row(node: ir.Node, reason: str) -> dict[str, str]:
    shape = str(node.outputs[0].shape)
    return {"name": node.name or "", "op": node.op_type, "shape": shape, "reason": reason}


def _call(node: ir.Node) -> str:
    return f"{node.op_type}({', '.join(v.name or '' for v in node.inputs if v is not None)})"


def _rewrite(model: ir.Model, options: Options, tell: Progress) -> Iterator[dict[str, Any]]:
    """Run the passes; refuse what is left without a kernel or with open dimensions."""
    with explaining() as reasons:
        for name, rewrites, seconds in _passes(model, options, tell):
            yield {"name": name, "rewrites": rewrites, "seconds": round(seconds, 4)}
    _refuse_leftovers(model, reasons)


def _passes(model: ir.Model, options: Options, tell: Progress) -> Iterator[tuple[str, int, float]]:
    model.metadata_props.update(options.facts)
    clock = time.perf_counter()
    for name, count in onnx_passes.rewrite(model):
        tell(f"pass {name}: {count}")
        yield name, count, time.perf_counter() - clock
        clock = time.perf_counter()


def _refuse_leftovers(model: ir.Model, reasons: list[str]) -> None:
    roles, fixed = roles_of(model), fixed_sizes(model)
    left = [node for node in model.graph if unsupported(node, roles.tokens)]
    if left and not roles.cache:
        raise PocketError(*NO_CACHE)
    if left:
        node = min(left, key=lambda node: _how_likely_a_consequence(node, reasons))
        missed = _missed(node, reasons)
        if fixed and _is_standard(node):
            where = f"{node.op_type} {node.name} can't be computed for other sizes"
            raise exported_for(fixed, (missed or [where])[0])
        raise _no_kernel(node, unsupported(node, roles.tokens), missed)
    names = unresolved_dims(model)
    if names and fixed:
        raise exported_for(fixed, f"a dimension of {names[0]} depends on them")
    if names:
        value = next(v for n in model.graph for v in n.outputs if v.name == names[0])
        raise PocketError(
            f"a dimension of {names[0]} cannot be resolved",
            f"its shape is {value.shape}, which depends on the data ({len(names)} such values)",
            "export with fixed sizes there; only batch, sequence and past may vary",
        )


def _how_likely_a_consequence(node: ir.Node, reasons: list[str]) -> tuple[bool, bool, bool, bool]:
    """Small for an op that is strange itself: one such op leaves others behind that are not."""
    explained = bool(_missed(node, reasons))
    known = node.op_type in {op_type for _, op_type in HANDLERS}
    return _is_standard(node), not explained, known, node.op_type in SHAPE_OPS


def _is_standard(node: ir.Node) -> bool:
    return node.domain in DOMAINS and (node.domain != "" or onnx.defs.has(node.op_type))


def _missed(node: ir.Node, reasons: list[str]) -> list[str]:
    """Where passes gave up at this node, or at one of its kind."""
    own = [line for line in reasons if line.startswith(f"{node.op_type} {node.name}: ")]
    return own or [line for line in reasons if line.startswith(f"{node.op_type} ")]


def _no_kernel(node: ir.Node, reason: str | None, missed: list[str]) -> PocketError:
    return PocketError(
        f"no kernel for {node.op_type} at {node.name} ({_type_of(node)} {node.outputs[0].shape})",
        "; ".join([reason or "none is written", *missed[:1]]),
        "pocketcl inspect MODEL --unsupported lists every such node",
    )


def _type_of(node: ir.Node) -> str:
    dtype = node.outputs[0].dtype
    return "unknown type" if dtype is None else dtype.name.lower()


def _packing(tell: Progress, doing: str) -> Callable[[str, int, int], None]:
    return lambda name, done, total: tell(
        f"{doing}: {done / 2**20:.0f} of {total / 2**20:.0f} MiB ({name})"
    )


def _figures(
    plan: Plan, model: ir.Model, nodes_before: int, passes: list[dict[str, Any]], seconds: float
) -> dict[str, Any]:
    return {
        "nodes_before": nodes_before,
        "nodes_after": len(model.graph),
        "unresolved_dims": len(unresolved_dims(model)),
        "passes": passes,
        "dispatches": {phase.name: len(phase.dispatches()) for phase in plan.phases},
        "weight_bytes": sum(weight.bytes for weight in plan.weights),
        "state_bytes": sum(buffer.bytes for buffer in plan.buffers if buffer.kind == "state"),
        "arena_bytes": {phase.name: phase.arena_bytes for phase in plan.phases},
        "arena_lower_bound_bytes": {phase.name: phase.lower_bound_bytes for phase in plan.phases},
        "max_context": plan.model["max_context"],
        "prefill_chunk": plan.model["prefill_chunk"],
        "device": plan.profile["name"],
        "tuned": sum(bool(program.knobs) for program in plan.programs),
        "seconds": round(seconds, 3),
        "peak_rss_bytes": peak_rss(),
    }
