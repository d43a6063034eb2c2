"""A network of many rows: a tile of records at a time becomes the weights of two products.

The first gives what the tile's neurons are, the second adds what they bring to sums of floats. What
a tile has no record for has weights of 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from opencl_kernels.formats import padded
from opencl_kernels.layouts import F16, F32
from opencl_kernels.map.indexed import Operand
from opencl_kernels.matmul.epilogue import SUM
from opencl_kernels.matmul.glu import Glu
from opencl_kernels.matmul.matmul import Product
from opencl_kernels.records.unpack import FAMILY as UNPACKING
from opencl_kernels.records.unpack import Unpack
from toolkit.compiler.lowering.builder import Location, PhaseBuilder
from toolkit.compiler.lowering.dispatches import emit_map
from toolkit.compiler.lowering.drafts import Draft, GatherDraft
from toolkit.compiler.lowering.records.endings import TICKET, UNITS, tile_ending
from toolkit.compiler.lowering.values import shape_of
from toolkit.compiler.views.scalar import number
from toolkit.compiler.views.view import View
from toolkit.compiler.weights.records import Tabled
from toolkit.plan.schema import Ref, Select

TILE, LEAST = 512, 64  # records: products of so many are as fast as those of whole matrices
PARTS = 8  # of a small table, so that it isn't all in staging
SLOTS: Ref = ("slots",)


def emit_tiles(b: PhaseBuilder, tabled: Tabled, x: Location, gates: Ref | None) -> tuple[Ref, int]:
    """Sums f32 [M, D] over all records, which are one part."""
    ffn, name = tabled.ffn, tabled.name
    rows, tile = b.rows(ffn.x), min(TILE, ffn.width, max(LEAST, padded(ffn.width // PARTS)))
    total = b.temporary(f"{name}.total", "f32", (rows, ffn.depth))
    zero = View(shape_of(b, ffn.down.outputs[0]), "f32", lambda _: number(0.0))
    emit_map(b, f"{name}.zero", Location(total, "f32"), zero)
    dtype = b.float_type(ffn.hidden)
    hidden = Location(b.temporary(f"{name}.hidden", dtype, (rows, tile)), dtype)
    drafts = (
        *_hidden(b, tabled, x, gates, hidden, tile),
        *_summed(b, tabled, hidden, total, tile),
    )
    select = Select("all")
    b.steps.append(GatherDraft(name, tabled.table, tabled.parts, select, drafts, tile))
    return total, 1


def _hidden(
    b: PhaseBuilder, tabled: Tabled, x: Location, gates: Ref | None, into: Location, tile: int
) -> tuple[Draft, Draft]:
    """What the tile's neurons are."""
    ffn, name = tabled.ffn, tabled.name
    paired = ffn.gate is not None and gates is None
    case = replace(_unpacking(tabled, tile), pair=paired)
    unpack, weight = unpacked(b, f"{name}.rows", case)
    stored, rows, columns = case.weight
    ending = tile_ending(b, tabled, tile, gates)
    product = Product(
        M=b.rows(ffn.x),
        N=rows,
        K=columns,
        x=x.dtype,
        y=into.dtype,
        w=stored,
        glu=Glu(tile, UNITS.get(ffn.act, "silu")) if paired else None,
        epilogue=ending.text,
        inputs=tuple(ending.inputs) if ending.text else (),
    )
    refs = {**ending.refs, "x": x.ref, **weight, "y": into.ref}
    return unpack, b.draft(f"{name}.hidden", "gemm", product, refs)


def _summed(
    b: PhaseBuilder, tabled: Tabled, hidden: Location, total: Ref, tile: int
) -> tuple[Draft, Draft]:
    """What they bring to the sums, which the product has for its residual."""
    ffn, name = tabled.ffn, tabled.name
    exact = hidden.dtype == "f32" and tabled.record.stored.bits
    last = tabled.record.parts - 1
    case = replace(_unpacking(tabled, tile), part=last, column=F32 if exact else F16)
    unpack, weight = unpacked(b, f"{name}.columns", case)
    stored, rows, columns = case.weight
    product = Product(M=b.rows(ffn.x), N=rows, K=columns, x=hidden.dtype, y="f32", w=stored)
    if hidden.dtype == "f32":
        product, read = replace(product, residual=True), "r"
    else:  # a residual is of x's type
        before = f"{SUM} + a0[i0 * {ffn.depth} + i1]"
        product = replace(product, epilogue=before, inputs=(Operand("f32", b.elements(total)),))
        read = "a0"
    refs = {"x": hidden.ref, **weight, read: total, "y": total}
    return unpack, b.draft(f"{name}.sum", "gemm", product, refs)


def _unpacking(tabled: Tabled, tile: int) -> Unpack:
    record, width = tabled.record, tabled.ffn.width
    return Unpack(PARTS=record.parts, D=record.length, w=record.stored, S=width, T=tile, F=width)


def unpacked(b: PhaseBuilder, name: str, case: Unpack) -> tuple[Draft, Mapping[str, Ref]]:
    """Records as a weight, and the memory of its arrays."""
    arrays = [each for each in UNPACKING.arguments(case) if each.role == "out"]
    made = {a.name: b.temporary(f"{name}.{a.name}", a.dtype, a.shape) for a in arrays}
    return b.draft(name, "unpack", case, {"ticket": TICKET, "slots": SLOTS, **made}), made
