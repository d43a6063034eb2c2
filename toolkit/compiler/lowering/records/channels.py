"""A network that is computed with some of its inputs and hidden units, whose weights lie in tables.

A gather of what its first products read adds up what they are, another of the hidden units adds up
the result. Of few rows, kernels add records where they lie; of more, as in prefill, a tile of them
at a time becomes columns of a product's weight, and of x or h as many are picked.
"""

from __future__ import annotations

import onnx_ir as ir
import sympy

from onnx_passes.analysis.ffn import Columns
from onnx_passes.ir.graph import DOMAIN, operand
from opencl_kernels.formats import padded
from opencl_kernels.layouts import F16, F32
from opencl_kernels.map.indexed import Operand
from opencl_kernels.map.map import Map
from opencl_kernels.matmul.matmul import Product
from opencl_kernels.records.add_parts import Parts
from opencl_kernels.records.gathered import HEAD
from opencl_kernels.records.products import RecordColumns
from opencl_kernels.records.record import Record
from opencl_kernels.records.unpack import Unpack
from toolkit.compiler.lowering.builder import Location, PhaseBuilder
from toolkit.compiler.lowering.deferred import PartialSums
from toolkit.compiler.lowering.dispatches import emit_map
from toolkit.compiler.lowering.drafts import Draft, GatherDraft
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.records.endings import TICKET, applied
from toolkit.compiler.lowering.records.ffn import FEW
from toolkit.compiler.lowering.records.sums import waiting_sums
from toolkit.compiler.lowering.records.tiles import LEAST, PARTS, SLOTS, TILE, unpacked
from toolkit.compiler.lowering.values import shape_of, stored
from toolkit.compiler.views.scalar import number
from toolkit.compiler.views.view import View, in_memory, poly_of
from toolkit.compiler.weights.channels import Channels, TabledChannels
from toolkit.errors import PocketError
from toolkit.plan.schema import Ref, Select

CPU_ITEMS = 8  # as many as kernels have work-items
GPU_GROUPS, MOST_SHARES = 4, 16  # work-groups of a compute unit; partial sums
FEW_SHARES = 4  # that hidden units add up themselves
GROUP, EIGHT = 64, 8  # numbers that a work-group of a GPU takes, in eights


def lower_channels(b: PhaseBuilder, tabled: TabledChannels) -> None:
    """All of the network; its result waits for a residual."""
    ffn = tabled.ffn
    b.done |= {*ffn.nodes}
    x, y = stored(b, ffn.x), ffn.down.outputs[0]
    h = _units(b, tabled, *_summed(b, tabled.inputs, x))
    sums = _gathered(b, tabled.hidden, h)
    bias = operand(ffn.down, 2)
    found = PartialSums(y, *sums, None if bias is None else b.weights.vector(bias))
    later = waiting_sums(b, found, shape_of(b, y))
    b.views[y] = in_memory(later, later.shape)


def _units(b: PhaseBuilder, tabled: TabledChannels, sums: Ref, shares: int) -> Location:
    """Hidden units f32 [M, F] of shares of products, f32 [shares, M, parts, F]: ups, then gates."""
    ffn, name = tabled.ffn, f"{tabled.inputs.name}.units"
    width, parts = ffn.width, len(tabled.inputs.parts)
    rows = b.rows(ffn.x)
    refs: dict[str, Ref] = {"a0": sums}
    inputs = [Operand("f32", b.elements(sums))]

    def product(part: int, columns: Columns) -> str:
        rest = f"(i0 * {parts} + {part}) * {width} + i1"
        each = (f"a0[{share * b.elements(sums) // shares} + {rest}]" for share in range(shares))
        text = f"({' + '.join(each)})"
        if columns.bias is None:
            return text
        bias = f"a{len(inputs)}"
        inputs.append(Operand("f32", width))
        refs[bias] = b.weights.vector(columns.bias, columns.first, width)
        return f"({text} + {bias}[i1])"

    value = applied(ffn.up_act, product(0, ffn.up))
    if ffn.gate is not None:
        value = f"{applied(ffn.act, product(1, ffn.gate))} * {value}"
    into = b.temporary(name, "f32", (rows, width))
    case = Map(axes=(rows, width), value=value, inputs=tuple(inputs), y="f32")
    b.emit(name, "map", case, {**refs, "y": into})
    return Location(into, "f32")


def _summed(b: PhaseBuilder, channels: Channels, v: Location) -> tuple[Ref, int]:
    """Records times elements of v [M, count] as few shares, f32 [shares, M, parts, length]."""
    part, count = _gathered(b, channels, v)
    if count <= FEW_SHARES:
        return part, count
    rows, width = b.rows(channels.ffn.x), len(channels.parts) * channels.record.length
    total = b.temporary(f"{channels.name}.total", "f32", (rows, width))
    case = Parts(M=rows, D=width, G=count)
    b.emit(f"{channels.name}.total", "add_parts", case, {"part": part, "y": total})
    return total, 1


def _gathered(b: PhaseBuilder, channels: Channels, v: Location) -> tuple[Ref, int]:
    """The same in a few parts, f32 [count, M, parts, length]."""
    rows = b.rows(channels.ffn.x)
    if not (rows.is_Integer and int(rows) <= FEW):
        return _tiles(b, channels, v), 1
    one = rows == sympy.Integer(1)
    return _columns(b, channels, v, channels.select(v.ref) if one else Select("all"))


def _columns(b: PhaseBuilder, channels: Channels, v: Location, select: Select) -> tuple[Ref, int]:
    """By a kernel that adds records where they lie."""
    record, size = channels.record, channels.count
    rows, shares = b.rows(channels.ffn.x), _shares(b, record)
    shape = (shares, rows, record.parts, record.length)
    sums = b.temporary(f"{channels.name}.sums", "f32", shape)
    case = RecordColumns(
        M=rows,
        PARTS=record.parts,
        D=record.length,
        w=record.stored,
        S=size,
        T=size,
        F=size,
        G=shares,
        x=v.dtype,
    )
    refs: dict[str, Ref] = {"ticket": TICKET, "slots": SLOTS, "c": v.ref, "acc": sums}
    inner = b.draft(f"{channels.name}.columns", "columns", case, refs)
    facts = (channels.name, channels.table, channels.parts, select, (inner,))
    b.steps.append(GatherDraft(*facts, whole=select.by == "all" and channels.order is None))
    return sums, shares


def _shares(b: PhaseBuilder, record: Record) -> int:
    """Partial sums, so that there is work for the device: kernels divide a record's numbers."""
    if b.settings.device_class.is_cpu:
        return -(-CPU_ITEMS // record.parts)
    groups = -(-record.parts * record.length // (GROUP * EIGHT))
    return min(MOST_SHARES, -(-GPU_GROUPS * b.settings.compute_units // groups))


def _tiles(b: PhaseBuilder, channels: Channels, v: Location) -> Ref:
    """By products of a tile of records, and what of v belongs to them."""
    rows, record, name = b.rows(channels.ffn.x), channels.record, channels.name
    tile = min(TILE, channels.count, max(LEAST, padded(channels.count // PARTS)))
    total = b.temporary(f"{name}.total", "f32", (rows, record.parts, record.length))
    shape = tuple(poly_of(size, b.box) for size in (rows, record.parts, record.length))
    zero = View(shape, "f32", lambda _: number(0.0))
    emit_map(b, f"{name}.zero", Location(total, "f32"), zero)
    picked = Location(b.temporary(f"{name}.picked", v.dtype, (rows, tile)), v.dtype)
    drafts = [_pick(b, channels, v, picked, tile)]
    for part in range(record.parts):
        drafts += _product(b, channels, picked, total, part, tile)
    select = Select("all")
    gather = GatherDraft(name, channels.table, channels.parts, select, tuple(drafts), tile)
    b.steps.append(gather)
    return total


def _pick(b: PhaseBuilder, channels: Channels, v: Location, into: Location, tile: int) -> Draft:
    """What of v belongs to a tile's records; 0 where it has none."""
    index = f"a1[{HEAD + 1} + 2 * i1]"
    value = f"Where(i1 < a1[0], a0[i0 * {channels.count} + Where(i1 < a1[0], {index}, 0)], 0.0)"
    ticket = Operand("i32", HEAD + 2 * tile)
    inputs = (Operand(v.dtype, b.elements(v.ref)), ticket)
    case = Map(axes=(b.rows(channels.ffn.x), tile), value=value, inputs=inputs, y=into.dtype)
    refs = {"a0": v.ref, "a1": TICKET, "y": into.ref}
    return b.draft(f"{channels.name}.picked", "map", case, refs)


def _product(
    b: PhaseBuilder, channels: Channels, x: Location, total: Ref, part: int, tile: int
) -> tuple[Draft, Draft]:
    """A tile's columns of a part of the records, times what belongs to them, added to the sums."""
    record, name = channels.record, f"{channels.name}.{channels.parts[part]}"
    case = Unpack(
        PARTS=record.parts,
        D=record.length,
        w=record.stored,
        S=channels.count,
        T=tile,
        F=channels.count,
        part=part,
        column=F32 if record.stored.bits else F16,
    )
    unpack, weight = unpacked(b, f"{name}.unpack", case)
    w, N, K = case.weight
    width = record.parts * record.length
    product = Product(
        M=b.rows(channels.ffn.x),
        N=N,
        K=K,
        x=x.dtype,
        y="f32",
        w=w,
        residual=True,
        Y0=part * record.length,
        LDY=width if record.parts > 1 else 0,
    )
    refs = {"x": x.ref, **weight, "r": total, "y": total}
    return unpack, b.draft(f"{name}.sum", "gemm", product, refs)


def _alone(b: PhaseBuilder, node: ir.Node) -> None:
    """A mask outside of a table has no kernel: all of the network is there."""
    name = node.outputs[0].name or node.op_type
    because = "the network's matrices are not all in codes of 4 bits, or all in halves"
    hint = "add --weights e0m4 (or f16), or leave --sparsity out"
    raise PocketError(f"--sparsity dip cannot be used at {name}", because, hint)


TOP_MASK = Lowering(DOMAIN, "TopMask", _alone)
