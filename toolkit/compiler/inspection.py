"""A model before and after the passes, as JSON and as lines of text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx_ir as ir

import onnx_passes
from onnx_passes.analysis.roles import Roles, roles_of
from onnx_passes.ir.dims import SYMBOLS
from toolkit.compiler.damage import blaming
from toolkit.compiler.lowering.table import unsupported
from toolkit.compiler.options import choose
from toolkit.compiler.rewriting.passes import facts_of, run_passes
from toolkit.compiler.source import Source, load_source
from toolkit.nearest import unknown
from toolkit.tables import WIDTH, section, table, wrapped


def model_report(path: Path) -> dict[str, Any]:
    """Roles, symbols, passes and unsupported nodes of a model."""
    return inspect_model(load_source(path))


def why(path: Path, name: str) -> list[str]:
    """Why a pass's rules left nodes alone."""
    known = [run.__name__ for run in onnx_passes.PASSES]
    if name not in known:
        raise unknown(
            f"no pass is called '{name}'",
            name,
            known,
            f"list all with pocketcl inspect {path}",
        )
    source = load_source(path)
    model, options = source.model, choose(source, {"class": "cpu"})
    facts_of(options).note(model)
    with blaming(source.onnx_path):
        lines = [str(miss) for miss in onnx_passes.why(model, name)]
    return lines or [f"{name}: nothing was missed"]


def model_lines(report: dict[str, Any]) -> Iterator[str]:
    """The report of a model for people."""
    yield from section("roles", _pairs(report["roles"]))
    yield from section("symbols", [", ".join(report["symbols"])])
    passes = [(p["name"], f"{p['rewrites']:5}", f"{p['seconds']:.2f} s") for p in report["passes"]]
    yield from section("passes", table(passes))
    yield from unsupported_lines(report)


def unsupported_lines(report: dict[str, Any]) -> Iterator[str]:
    """One line per node that no kernel runs."""
    rows = [(n["op"], n["name"], str(n["shape"]), n["reason"]) for n in report["unsupported"]]
    yield from section("nodes without a kernel", table(rows) or ["none"])


def graph_lines(report: dict[str, Any]) -> Iterator[str]:
    """Every node as `outputs = Op(inputs)`, wrapped if it is too long for a line."""
    for line in report["graph"]:
        outputs, _, call = line.partition(" = ")
        if len(line) <= WIDTH:
            yield line
        else:
            yield outputs
            yield from wrapped(f"= {call}", "    ", "      ")


def _pairs(facts: dict[str, Any]) -> list[str]:
    return table(
        (
            key,
            f"{len(value)} pairs: {value[0][0]} …" if isinstance(value, list) and value else value,
        )
        for key, value in facts.items()
    )


def inspect_model(source: Source) -> dict[str, Any]:
    """Roles, symbols, passes and nodes without a kernel of a model, for `pocketcl inspect`."""
    model = source.model
    options = choose(source, {"class": "cpu"})
    with blaming(source.onnx_path):
        passes = [
            {"name": name, "rewrites": outcome.rewrites, "seconds": seconds}
            for name, outcome, seconds in run_passes(model, options, lambda _: None)
        ]
        roles = roles_of(model)
    left = ((node, unsupported(node, roles.tokens)) for node in model.graph)
    return {
        "roles": {"tokens": roles.tokens, "mask": roles.mask, "positions": roles.positions}
        | {role: name for role, name in _counts(roles).items() if name is not None}
        | {"logits": roles.logits, "cache": [list(pair) for pair in roles.cache]},
        "symbols": [*SYMBOLS],
        "passes": passes,
        "unsupported": [_row(node, reason) for node, reason in left if reason],
        "graph": [
            f"{', '.join(v.name or '' for v in n.outputs)} = {_call(n)}" for n in model.graph
        ],
    }


def _counts(roles: Roles) -> dict[str, str | None]:
    """Inputs that few decoders have."""
    return {"places": roles.places, "written": roles.written, "lengths": roles.lengths}


def _row(node: ir.Node, reason: str) -> dict[str, str]:
    shape = str(node.outputs[0].shape)
    return {"name": node.name or "", "op": node.op_type, "shape": shape, "reason": reason}


def _call(node: ir.Node) -> str:
    return f"{node.op_type}({', '.join(v.name or '' for v in node.inputs if v is not None)})"
