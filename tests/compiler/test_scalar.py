"""What the constructors of scalars simplify, and that it is what the function says."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from opencl_kernels.map.expression import evaluate, parsed
from opencl_kernels.map.functions import BOOL, FLOAT, INT, SCALAR_OPS
from toolkit.compiler.views.poly import Axis, Computed, Poly, Symbol, poly
from toolkit.compiler.views.scalar import Apply, Index, Number, Scalar, number
from toolkit.compiler.views.simplify import apply, index_of
from toolkit.compiler.views.walks import sources

SEQ = Poly.of(Symbol("seq", 1, 100))
ROW, COLUMN = (Poly.of(Axis(name, size)) for name, size in (("i0", SEQ), ("i1", poly(7))))
KNOWN = {"i0": np.arange(5)[:, None], "i1": np.arange(7)[None], "seq": np.array(5)}
SAMPLES: dict[str, list[Scalar]] = {
    FLOAT: [number(0.5), number(-2.0), apply("Float", Index(ROW - COLUMN))],
    INT: [
        number(3),
        number(-4),
        number(5_000_000_000),
        Index(ROW),
        Index(COLUMN - 3),
        Index(ROW * 100 + COLUMN),
    ],
    BOOL: [number(True), number(False), apply("Less", Index(ROW), Index(COLUMN))],
}


def evaluated(scalar: Scalar) -> Any:
    """A scalar by way of its text."""
    found = evaluate(parsed(scalar.text(str), ()), KNOWN)
    return np.broadcast_to(found, (5, 7))


def plainly(op: str, operands: tuple[Scalar, ...]) -> Any:
    with np.errstate(all="ignore"):
        found = SCALAR_OPS[op].numpy(*(evaluated(each) for each in operands))
    return np.broadcast_to(found, (5, 7))


def operands_of(op: str, kind: str) -> Any:
    of = [kind] * SCALAR_OPS[op].arity
    if op == "Where":
        of[0] = BOOL
    for chosen in itertools.product(*(SAMPLES[each] for each in of)):
        zero = kind == INT and op in ("Div", "Mod", "Fmod") and 0 in evaluated(chosen[1])
        if not zero:
            yield chosen


@pytest.mark.parametrize("op", SCALAR_OPS)
def test_simplified_is_the_same(op: str) -> None:
    for kind in SCALAR_OPS[op].operands:
        for operands in operands_of(op, kind):
            scalar = apply(op, *operands)
            with np.errstate(all="ignore"):
                np.testing.assert_allclose(evaluated(scalar), plainly(op, operands), rtol=1e-12)
            assert scalar.kind == (SCALAR_OPS[op].result or kind)


def test_comparisons_that_are_proved() -> None:
    assert apply("Less", Index(ROW), Index(SEQ)) == Number(True)
    assert apply("GreaterOrEqual", Index(ROW), Index(SEQ)) == Number(False)
    assert apply("Equal", Index(COLUMN), number(7)) == Number(False)
    assert isinstance(apply("Less", Index(ROW), Index(COLUMN)), Apply)
    assert apply("Max", Index(COLUMN), number(0)) == Index(COLUMN)
    assert apply("Min", Index(COLUMN), number(6)) == Index(COLUMN)


def test_choices_that_are_known() -> None:
    x, y = apply("Float", Index(ROW)), number(1.0)
    open_ = apply("Less", Index(ROW), Index(COLUMN))
    assert apply("Where", number(True), x, y) == x and apply("Where", number(False), x, y) == y
    assert apply("Where", open_, x, x) == x
    assert apply("And", open_, number(True)) == open_
    assert apply("Or", number(True), open_) == Number(True)


def test_integers_stay_polynomials_while_they_fit() -> None:
    assert apply("Mul", Index(ROW), number(12)) == Index(12 * ROW)
    assert apply("Div", Index(7 * ROW + COLUMN), number(7)) == Index(ROW)
    assert apply("Mod", Index(7 * ROW + COLUMN), number(7)) == Index(COLUMN)
    assert apply("Mul", number(2**31), number(4)) == Index(poly(2**33))
    wide = apply("Mul", Index(ROW), number(2**30))
    assert wide.text(str) == "(Int(i0) * 1073741824)"
    assert apply("Int32", Index(ROW)) == Index(ROW) and isinstance(apply("Int32", wide), Apply)


def test_powers_that_are_products() -> None:
    x = apply("Float", Index(ROW))
    assert apply("Pow", x, number(2)) == apply("Mul", x, x) == apply("Pow", x, number(2.0))
    assert apply("Pow", x, number(0.5)) == apply("Sqrt", x)
    assert apply("Pow", x, number(1)) == x
    assert isinstance(apply("Pow", x, number(2.5)), Apply)


@pytest.mark.parametrize(
    "at, expected", [(COLUMN, COLUMN), (poly(-1), poly(6)), (poly(3), poly(3))]
)
def test_indices_in_range_are_used_as_they_are(at: Poly, expected: Poly) -> None:
    assert index_of(Index(at), poly(7)) == expected


def test_other_indices_are_made_safe() -> None:
    (factor,) = index_of(Index(ROW), poly(7)).factors()
    assert isinstance(factor, Computed) and factor.high == poly(6)
    assert factor.text(str) == "Within(i0, 7)"


def test_sources_in_the_order_of_the_text() -> None:
    class Memory(str):
        dtype = "i64"

    from toolkit.compiler.views.scalar import Load

    chosen = Load(Memory("a"), ROW)
    x = Load(Memory("b"), index_of(chosen, poly(9)) * 7 + COLUMN)
    assert list(sources(apply("Add", x, chosen))) == ["b", "a", "a"]
