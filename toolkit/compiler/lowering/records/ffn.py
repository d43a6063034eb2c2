"""A network whose weights lie in a table: a gather, and what it computes of the records.

Of few rows, kernels over neurons read the records where they lie. Of more, as in prefill, a tile of
records at a time becomes weights of ordinary products (tiles.py). Where the gate of a neuron tells
that it is 0, of one row only the others are asked for.
"""

from __future__ import annotations

import numpy as np
import sympy

from onnx_passes.ir.graph import attribute, operand
from opencl_kernels.matmul.matmul import Product
from opencl_kernels.records.choose import Choice
from opencl_kernels.records.neurons import Neurons
from opencl_kernels.records.products import RecordRows
from toolkit.compiler.lowering.builder import Location, PhaseBuilder
from toolkit.compiler.lowering.deferred import PartialSums
from toolkit.compiler.lowering.drafts import Draft, FirstDraft, GatherDraft
from toolkit.compiler.lowering.products.fused import few_rows
from toolkit.compiler.lowering.records.ahead import prefetch_next
from toolkit.compiler.lowering.records.sums import waiting_sums
from toolkit.compiler.lowering.records.tiles import emit_tiles
from toolkit.compiler.lowering.values import shape_of, stored
from toolkit.compiler.views.view import in_memory
from toolkit.compiler.weights.records import Tabled, least_gate
from toolkit.plan.schema import Ref, Select

FEW = 4  # rows that kernels over neurons read a record once for
CPU_SHARES = 8  # partial sums: as many as kernels have work-items
GPU_SHARES, MOST_SHARES = 4, 64  # of a compute unit; at most


def lower_ffn(b: PhaseBuilder, tabled: Tabled) -> None:
    """All of the network; its result waits for a residual."""
    ffn = tabled.ffn
    b.done |= {*ffn.nodes}
    x, y = stored(b, ffn.x), ffn.down.outputs[0]
    gates = _gates(b, tabled, x) if tabled.gated else None
    rows = b.rows(ffn.x)
    if rows.is_Integer and int(rows) <= FEW:
        select = _selection(b, tabled, gates) if rows == sympy.Integer(1) else Select("all")
        part, count = _neurons(b, tabled, x, gates, select)
    else:
        part, count = emit_tiles(b, tabled, x, gates)
    bias = operand(ffn.down, 2)
    sums = PartialSums(y, part, count, None if bias is None else b.weights.vector(bias))
    later = waiting_sums(b, sums, shape_of(b, y))
    b.views[y] = in_memory(later, later.shape)


def _selection(b: PhaseBuilder, tabled: Tabled, gates: Ref | None) -> Select:
    """Of one row: what a predictor says, else what its gates say, else all."""
    chosen, scores = tabled.ffn.chosen, tabled.ffn.scores
    if chosen is not None and scores is not None:
        threshold = float(np.float32(attribute(chosen, "threshold", 0.0)))
        return Select("above", stored(b, scores).ref, threshold)
    if gates is None or tabled.above is None:
        return Select("all")
    return Select("above", gates, tabled.above)


def _gates(b: PhaseBuilder, tabled: Tabled, x: Location) -> Ref:
    """What the gates are before their activation, f32 [M, F]; their matrix stays in memory."""
    ffn = tabled.ffn
    gate = ffn.gate
    assert gate is not None
    rows, name = b.rows(ffn.x), f"{tabled.name}.gate"
    into = b.temporary(name, "f32", (rows, gate.width))
    few = few_rows(b, ffn.x, gate.weight)
    slices = b.weights.columns(gate.weight, gate.first, gate.width)
    for each in slices:
        case = Product(
            M=rows,
            N=each.count,
            K=ffn.depth,
            x=x.dtype,
            y="f32",
            w=b.weights.stored(gate.weight),
            bias=gate.bias is not None,
            Y0=each.first,
            LDY=gate.width if len(slices) > 1 else 0,
        )
        refs = {"x": x.ref, **each.refs, "y": into}
        if gate.bias is not None:
            refs["bias"] = b.weights.vector(gate.bias, gate.first + each.first, each.count)
        b.emit(name, "gemv" if few else "gemm", case, refs)
    return into


def _neurons(
    b: PhaseBuilder, tabled: Tabled, x: Location, gates: Ref | None, select: Select
) -> tuple[Ref, int]:
    """The partial sums of kernels over neurons, and how many."""
    ffn, count = tabled.ffn, _shares(b)
    rows, width = b.rows(ffn.x), ffn.width
    part = b.temporary(f"{tabled.name}.part", "f32", (count, rows, ffn.depth))
    refs: dict[str, Ref] = {"ticket": ("ticket",), "slots": ("slots",), "x": x.ref, "part": part}
    biases = {"bu": ffn.up, "bg": None if gates else ffn.gate}
    for name, columns in biases.items():
        if columns is not None and columns.bias is not None:
            refs[name] = b.weights.vector(columns.bias, columns.first, columns.width)
    if gates is not None:
        refs["v"] = gates
    case = Neurons(
        M=rows,
        PARTS=tabled.record.parts,
        D=ffn.depth,
        w=tabled.record.stored,
        S=width,
        T=width,
        F=width,
        G=count,
        gate="given" if gates else "part" if ffn.gate else "none",
        act=ffn.act,
        up_act=ffn.up_act,
        gate_bias="bg" in refs,
        up_bias="bu" in refs,
        x=x.dtype,
    )
    inner = b.draft(f"{tabled.name}.neurons", "neurons", case, refs)
    choose = _choose(b, tabled, select)
    b.steps.extend(prefetch_next(b, tabled))
    facts = (tabled.name, tabled.table, tabled.parts, select, (inner,))
    first = _first(b, tabled, x) if tabled.first and select.by == "above" else None
    b.steps.append(GatherDraft(*facts, choose=choose, whole=choose is None, first=first))
    return part, count


def _first(b: PhaseBuilder, tabled: Tabled, x: Location) -> FirstDraft:
    """What gates are of what was predicted: the rest of those that aren't zero is needed."""
    ffn, rows = tabled.ffn, b.rows(tabled.ffn.x)
    v = b.temporary(f"{tabled.name}.first", "f32", (rows, ffn.width))
    case = RecordRows(
        M=rows,
        PARTS=tabled.record.parts,
        D=ffn.depth,
        w=tabled.record.stored,
        S=ffn.width,
        T=ffn.width,
        F=ffn.width,
        x=x.dtype,
    )
    refs: dict[str, Ref] = {"ticket": ("ticket",), "slots": ("slots",), "x": x.ref, "v": v}
    inner = b.draft(f"{tabled.name}.first", "record_rows", case, refs)
    least = least_gate(ffn.act)
    assert least is not None
    return FirstDraft(tabled.parts[:1], (inner,), Select("above", v, least))


def _choose(b: PhaseBuilder, tabled: Tabled, select: Select) -> Draft | None:
    """The same selection by the device, for where all records lie in memory.

    None where that is always the same ticket: all of a table, as its records lie.
    """
    if select.by == "all" and tabled.order is None:
        return None
    refs: dict[str, Ref] = {"rule": ("rule",), "ticket": ("ticket",)}
    if select.source is not None:
        refs["v"] = select.source
    if tabled.order is not None:
        refs["order"] = ("weight", tabled.order)
    case = Choice(F=tabled.ffn.width, by=select.by, ordered=tabled.order is not None)
    return b.draft(f"{tabled.name}.choose", "choose", case, refs)


def _shares(b: PhaseBuilder) -> int:
    if b.settings.device_class.is_cpu:
        return CPU_SHARES
    return min(MOST_SHARES, GPU_SHARES * b.settings.compute_units)
