"""Attention that was found among Views, on the kernels of attention."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import sympy

from opencl_kernels.attention.heads import Heads
from opencl_kernels.formats import Array, numpy_dtype
from opencl_kernels.map.expression import parsed
from opencl_kernels.map.indexed import Operand
from toolkit.compiler.lowering.builder import Location, PhaseBuilder
from toolkit.compiler.lowering.deferred import Deferred, Product
from toolkit.compiler.lowering.dispatches import Reading, emit_attention
from toolkit.compiler.lowering.ops.score_forms import Expression, Form, form_of
from toolkit.compiler.lowering.ops.scores import D, Scores, scores_of
from toolkit.compiler.lowering.values import kept
from toolkit.compiler.views.division import floordiv, joined
from toolkit.compiler.views.poly import Axis, Poly, poly
from toolkit.compiler.views.scalar import Load, Scalar
from toolkit.compiler.views.view import At, View, in_memory, linear, size_of
from toolkit.plan.schema import Buffer, Ref


def attended(b: PhaseBuilder, name: str, mix: Product) -> View | None:
    """The product as a View of what an attention kernel computes, if it is the end of one."""
    scores = scores_of(b, mix)
    states = None if scores is None else _states(b, scores)
    if scores is None or states is None:
        return None
    found = Reading(b, [each for each in (scores.score, scores.sink) if each is not None])
    form = _form(b, scores, found)
    if form is None:
        return None
    case, refs = _case(b, name, scores, states, found, form)
    case = replace(case, y=b.float_type(mix.value))
    shape = (scores.rows.batch, scores.rows.seq, scores.rows.heads, scores.value_width)
    into = Location(b.temporary(name, case.y, [size_of(size) for size in shape]), case.y)
    emit_attention(b, name, case, refs | {"y": into.ref})
    by_token = in_memory(into, shape)

    def read(at: At) -> Scalar:
        text, head, token = scores.rows.query(at[:-1])
        return by_token.read([text, token, head, at[-1]])

    return View((*mix.left.shape[:-1], scores.value_width), case.y, read)


def _states(b: PhaseBuilder, scores: Scores) -> tuple[Buffer, Buffer] | None:
    """The buffers of K and V, if both are read as states [B, G, C, width] of the same form."""
    k = _state(b, scores, scores.k, scores.key_width)
    v = _state(b, scores, scores.v, scores.value_width)
    if k is None or v is None or k.shape[:3] != v.shape[:3] or k.dtype != v.dtype:
        return None
    return k, v


def _state(b: PhaseBuilder, scores: Scores, load: Load, width: Poly) -> Buffer | None:
    if isinstance(load.source, Deferred) or load.source.ref[0] != "buffer":
        return None
    buffer = b.buffers[int(load.source.ref[-1])]
    if buffer.kind != "state" or len(buffer.shape) != 4:
        return None
    shape = [poly(int(size)) for size in buffer.shape]
    groups, heads = shape[1].number or 0, scores.rows.heads.number or 0
    if not groups or heads % groups or shape[3] != width:
        return None
    text, head, _, key = scores.axes
    group = floordiv(head, poly(heads // groups))
    expected = joined(linear([text, group, key, Poly.of(Axis(D, width))], shape))
    return buffer if load.at == expected else None


def _form(b: PhaseBuilder, scores: Scores, found: Reading) -> Form | None:
    text = found.text(scores.score)
    node = parsed(text, [operand.dtype for operand in found.operands], ["s"])
    arrays = {
        name: partial(_elements, b, source, operand)
        for (source, name), operand in zip(found.names.items(), found.operands, strict=True)
    }
    heads = scores.rows.heads.number or 1
    slots = scores.keys.number
    score = Expression(node, heads, b.settings.batch, "start[" in text, arrays, slots)
    return form_of(score, b.settings.context, scores.rows.seq.number)


def _elements(b: PhaseBuilder, source: Any, operand: Operand, seq: int, past: int) -> Array:
    """What a weight holds; of other memory, numbers that mean nothing."""
    if source.ref[0] == "weight":
        made = b.weights.sources[int(source.ref[-1])].produce()
        return np.concatenate([part.reshape(-1) for part in made]).astype(np.float64)
    sizes = {"seq": seq, "past": past, "rows": 1}
    size = sympy.sympify(operand.size)
    count = int(size.xreplace({s: sympy.Integer(sizes[s.name]) for s in size.free_symbols}))
    values = np.random.default_rng(count).uniform(-1, 1, count)
    return values if operand.dtype in ("f32", "f16") else values.astype(numpy_dtype(operand.dtype))


def _case(
    b: PhaseBuilder,
    name: str,
    scores: Scores,
    states: tuple[Buffer, Buffer],
    found: Reading,
    form: Form,
) -> tuple[Heads, dict[str, Ref]]:
    """The case, and its arguments but for y."""
    q = kept(b, f"{name} queries", scores.q)
    _, groups, capacity, width = (int(size) for size in states[0].shape)
    plain = form.scale is not None and scores.sink is None
    case = Heads(
        M=size_of(scores.rows.batch * scores.rows.seq),
        H=scores.rows.heads.number or 1,
        SCALE=form.scale if plain and form.scale is not None else 1.0,
        WINDOW=form.window,
        x=q.dtype,
        B=b.settings.batch,
        G=groups,
        C=capacity,
        K=width,
        V=int(states[1].shape[3]) if states[1].shape[3] != width else 0,
        ring=b.settings.context > capacity,
        kv=states[0].dtype,
        score="" if plain else found.text(scores.score),
        sink="" if scores.sink is None else found.text(scores.sink),
        inputs=() if plain else found.operands,
    )
    refs = {"q": q.ref, "k_state": scores.k.source.ref, "v_state": scores.v.source.ref}
    return case, refs | ({} if plain else found.refs)
