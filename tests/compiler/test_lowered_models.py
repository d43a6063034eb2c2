"""Decoders that are spelled in unusual ways, as plans: what they compute, against ONNX Runtime."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy
from changed_decoder import DOWN, EMBEDDED, check, compiled

from opencl_kernels import family_of
from opencl_kernels.case import At
from opencl_kernels.formats import DTYPES
from toolkit.plan.expr import maximum, symbol
from toolkit.plan.reader import decode, from_json
from toolkit.plan.schema import Plan
from toolkit.plan.text import to_json

ODD = {
    "products on flattened tokens": (
        (DOWN, "wide = Reshape(mix, into) thin = MatMul(wide, wd) down = Reshape(thin, back)"),
        ", int64[2] into = {-1, 48}, int64[3] back = {1, -1, 32}",
    ),
    "norms over heads": (
        (
            "o = MatMul(o2, wo)",
            """mixed = MatMul(o2, wo) by_head = Reshape(mixed, heads)
            squares = Mul(by_head, by_head) average = ReduceMean(squares, last)
            shifted = Add(average, eps) root = Sqrt(shifted)
            unit = Div(by_head, root) normed = Mul(unit, gh) o = Reshape(normed, merged)""",
        ),
        ", int64[4] heads = {0, 0, 4, 8}, int64[3] merged = {0, 0, 32}, float[8] gh",
    ),
    "experts that scores choose": (
        (
            "up = MatMul(y, wu)",
            """scores = MatMul(y, router) top, chosen = TopK(scores, v2)
            closed = Sub(scores, scores) opened = ScatterElements<axis = 2>(closed, chosen, top)
            hot = OneHot(chosen, five, bits) running = CumSum(hot, i2)
            counted = ReduceSum<keepdims = 0>(running, v2) shares = Mul(opened, counted)
            best = ArgMax<axis = 2>(scores) number = Cast<to = 1>(best)
            both = Add(shares, number) more = MatMul(both, spread)
            plain = MatMul(y, wu) up = Add(plain, more)""",
        ),
        ", float[32, 5] router, int64 five = {5}, float[2] bits = {0, 1}, float[5, 48] spread",
    ),
    "any number of operands, and constants that are infinite": (
        (
            EMBEDDED,
            """raw = Gather(table, input_ids) half = Mul(raw, scale) most = Max(raw, half, floor)
            only = Min(most) sum = Sum(only, raw, half, row) third = Mean(sum, raw, half)
            above = Max(third, never) below = Min(above, ever) h = Relu(below)""",
        ),
        ", float floor = {0.01}, float never = {-inf}, float ever = {inf}, float[32] row",
    ),
}


def test_unusual_spellings_compute_the_same(tmp_path: Path) -> None:
    changes, constants = zip(*ODD.values(), strict=True)
    check(compiled(tmp_path, *changes, constants="".join(constants)))


HEADS = [f"{x} = Transpose<perm = [0, 2, 1, 3]>({x}1)" for x in "qk"]
TURNED = [f"{x}r = Add({x}c, {x}s)" for x in "qk"]
BETWEEN = {  # what ends in heads of q or k, and what becomes of it, by its name, value and letter
    "RMSNorm before the rotation": (HEADS, "{0}_ = {1} {0} = RMSNormalization({0}_, g{2})"),
    "RMSNorm after it": (TURNED, "{0}_ = {1} {0} = RMSNormalization({0}_, g{2})"),
    "LayerNorm before it": (HEADS, "{0}_ = {1} {0} = LayerNormalization({0}_, g{2}, shift{2})"),
    "no rotation": (TURNED, "{0} = Identity({2})"),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_heads_take_one_dispatch_from_projection_to_attention(name: str, tmp_path: Path) -> None:
    ends, form = BETWEEN[name]
    changes = [(end, form.format(*end.split(" = ", 1), end[0])) for end in ends]
    vectors = ", float[8] gq, float[8] gk, float[8] shiftq, float[8] shiftk"
    done = compiled(tmp_path, *changes, constants=vectors, opset="23")
    check(done)
    decode = next(phase for phase in done.plan.phases if phase.name == "decode")
    programs = (done.plan.programs[step.variants[0].program] for step in decode.dispatches())
    kernels = [program.kernel for program in programs]
    assert kernels[:4] == ["embed", "gemv_cpu", "rope_kv", "attention_decode_cpu"]


# --- no dispatch touches more than its arguments hold -------------------------------------------

EDGES = {"h": EMBEDDED, "o": "o = MatMul(o2, wo)", "down": DOWN}  # values [batch, seq, 32]
FORMS = {"flat": ("-1, 32", 32), "rows": ("1, -1, 32", 32), "heads": ("0, 0, 4, 8", 8)}
STEPS = {  # over the last axis, {n} wide
    "scale": "float[{n}] w_{i}|s_{i} = Mul(a_{i}, w_{i})",
    "matrix": "float[{n}, {n}] w_{i}|s_{i} = MatMul(a_{i}, w_{i})",
    "bias": "float[{n}, {n}] w_{i}, float[{n}] b_{i}"
    "|p_{i} = MatMul(a_{i}, w_{i}) s_{i} = Add(p_{i}, b_{i})",
    "norm": "float[{n}] w_{i}|s_{i} = RMSNormalization<axis = -1>(a_{i}, w_{i})",
    "sum": "float[{n}] w_{i}|p_{i} = Mul(a_{i}, w_{i}) s_{i} = Add(a_{i}, p_{i})",
}


def odd_decoder(seed: int) -> dict[str, Any]:
    """Random detours through other ranks: changes of the text, and the constants that they need."""
    luck, changes, constants = np.random.default_rng(seed), [], ", int64[3] whole = {1, -1, 32}"
    for i, edge in enumerate(luck.permutation(list(EDGES))[: luck.integers(1, 4)]):
        shape, width = FORMS[str(luck.choice(list(FORMS)))]
        weights, steps = STEPS[str(luck.choice(list(STEPS)))].format(i=i, n=width).split("|")
        rank = shape.count(",") + 1
        constants += f", int64[{rank}] t_{i} = {{{shape}}}, {weights}"
        before = EDGES[edge].replace(f"{edge} =", f"e_{i} =")
        detour = f"{before} a_{i} = Reshape(e_{i}, t_{i}) {steps} {edge} = Reshape(s_{i}, whole)"
        changes.append((EDGES[edge], detour))
    return {"changes": changes, "constants": constants}


def touched(plan: Plan) -> Iterator[tuple[str, int, int]]:
    """(argument, bytes that its kernel touches at most, bytes of its memory) of all dispatches."""
    plan = from_json(to_json(plan))
    tables = {"buffer": plan.buffers, "weight": plan.weights}
    for phase in plan.phases:
        box = plan.box(phase)
        fixed = {symbol(name): low for name, (low, high) in box.items() if low == high}
        for step in phase.dispatches():
            program = plan.programs[step.variants[0].program]
            family, at = family_of(program.kernel), At(symbol("seq"), rows=symbol("rows"))
            case = decode(family.case, program.case, "case")
            arguments = family.arguments(replace(case, at=at))
            for argument, (kind, index) in zip(arguments, step.args[1:], strict=True):
                elements = sympy.sympify(sympy.prod(argument.shape)).subs(fixed)
                size = DTYPES[argument.dtype].itemsize
                held = {**tables, "scratch": phase.scratch}[kind][index]
                yield f"{step.name}.{argument.name}", maximum(elements, box) * size, held.bytes


@pytest.mark.parametrize(
    "seed", [*range(6), *(pytest.param(n, marks=pytest.mark.slow) for n in range(6, 20))]
)
def test_no_dispatch_touches_more_than_its_arguments_hold(seed: int, tmp_path: Path) -> None:
    odd = odd_decoder(seed)
    done = compiled(tmp_path, *odd["changes"], constants=odd["constants"], opset="23")
    for name, needed, held in touched(done.plan):
        assert needed <= held, name
    if seed < 2:
        check(done)
