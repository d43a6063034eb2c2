"""OpenCL C's functions over arrays of items, by the names that LLVM's modules give them."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import erf

import numpy as np

from opencl_kernels.formats import Array
from toolkit.bench.counting.ir import Instruction
from toolkit.bench.counting.operations import Operation, signed, unsigned
from toolkit.bench.counting.prices import function_name


def _wide(operation: Callable[..., Array]) -> Operation:
    """An operation on floats, at least; halves are rounded once."""

    def run(*arguments: Array) -> Array:
        dtype = arguments[0].dtype
        if dtype != np.float16:
            return np.asarray(operation(*arguments)).astype(dtype, copy=False)
        return operation(*(each.astype(np.float32) for each in arguments)).astype(dtype)

    return run


def _multiply_add(a: Array, b: Array, c: Array) -> Array:
    return a * b + c


def _rotate(value: Array, by: Array) -> Array:
    bits = 8 * value.dtype.itemsize
    left, word = unsigned(by) % bits, unsigned(value)
    right = ((bits - left) % bits).astype(word.dtype)
    return signed(np.asarray(word << left | word >> right))


def _leading_zeros(value: Array) -> Array:
    bits = 8 * value.dtype.itemsize
    return (bits - np.frexp(unsigned(value).astype(np.float64))[1]).astype(value.dtype)


def _flagged(operation: Callable[[Array], Array]) -> Operation:
    """Without the flags of LLVM's form: they say which inputs have no answer, and here all do."""
    return lambda value, *_: operation(value)


def _select(a: Array, b: Array, condition: Array) -> Array:
    """Of vectors: b where the highest bit is set."""
    return np.where(condition < 0 if condition.ndim > 1 else condition != 0, b, a)


def _high_product(a: Array, b: Array) -> Array:
    both = unsigned(a).astype(np.uint64) * unsigned(b).astype(np.uint64)
    return signed((both >> np.uint64(32)).astype(np.uint32))


def _clamp(value: Array, low: Array, high: Array) -> Array:
    return np.minimum(np.maximum(value, low), high)


def _exact(operation: Callable[..., Array]) -> Callable[..., Array]:
    """Rounded once: as near as a float can be."""
    return lambda *each: np.asarray(operation(*(one.astype(np.float64) for one in each)))


ROUNDED: dict[str, Callable[..., Array]] = {
    **{"exp": np.exp, "exp2": np.exp2, "log": np.log, "log2": np.log2, "sqrt": np.sqrt},
    **{"tanh": np.tanh, "sin": np.sin, "cos": np.cos, "pow": np.power},
    **{"erf": np.vectorize(erf, otypes=[np.float64])},
    **{"rsqrt": lambda a: 1 / np.sqrt(a), "native_recip": lambda a: 1 / a},
}
MATHS: dict[str, Operation] = {
    **{name: _exact(each) for name, each in ROUNDED.items()},
    **{"ceil": np.ceil, "floor": np.floor, "rint": np.rint, "trunc": np.trunc},
    **{"fabs": np.abs, "sign": np.sign, "fmin": np.fmin, "fmax": np.fmax},
    **{"minnum": np.fmin, "maxnum": np.fmax},
    **dict.fromkeys(("fmuladd", "fma", "mad"), _multiply_add),
}
MATHS |= {f"native_{name}": MATHS[name] for name in ("exp", "exp2", "log", "log2", "rsqrt", "sqrt")}


def _of_unsigned(operation: Callable[..., Array]) -> Operation:
    return lambda *each: signed(np.asarray(operation(*map(unsigned, each))))


INTEGERS: dict[str, Operation] = {
    **{"smin": np.minimum, "smax": np.maximum},
    **{"umin": _of_unsigned(np.minimum), "umax": _of_unsigned(np.maximum)},
    **{"min": np.minimum, "max": np.maximum, "clamp": _clamp, "abs": _flagged(np.abs)},
    **dict.fromkeys(("clz", "ctlz"), _flagged(_leading_zeros)),
    **{"rotate": _rotate, "select": _select, "mul_hi": _high_product},
}


def function(each: Instruction) -> Operation | None:
    """What a call computes of its arguments alone; None where it's more than that."""
    mangled = str(each.more)
    name = function_name(mangled)
    if name.startswith("convert_"):
        return _conversion(name, mangled, each)
    if name.startswith("vector.reduce.add"):
        return lambda a: a.sum(1, dtype=a.dtype)
    if each.operands and each.operands[0].type.kind == "float" and name in (*MATHS, *INTEGERS):
        return _wide(MATHS[name] if name in MATHS else INTEGERS[name])
    found = INTEGERS.get(name)
    return _of_unsigned(found) if found and name in ORDERED and _is_unsigned(mangled) else found


ORDERED = ("min", "max", "clamp", "abs")


def _is_unsigned(mangled: str) -> bool:
    """Whether the first parameter is, of a vector its element: _Z3maxjj, _Z3minDv4_jS_."""
    rest = mangled[mangled.index(function_name(mangled)) + len(function_name(mangled)) :]
    return re.sub(r"^Dv\d+_", "", rest)[:1] in set("htjm")


def _conversion(name: str, mangled: str, each: Instruction) -> Operation:
    """Floats become integers by truncation; `_sat` and rounding modes are not known."""
    if not re.fullmatch(r"convert_u?[a-z]+\d*", name):
        raise ValueError(f"{name} is not counted")
    from_unsigned = each.operands[0].type.kind == "int" and _is_unsigned(mangled)
    into_unsigned = each.type.kind == "int" and name.startswith("convert_u")

    def run(value: Array) -> Array:
        value = unsigned(value) if from_unsigned else value
        if into_unsigned and value.dtype.kind == "f":
            value = value.astype(np.int64)
        return value.astype(each.type.dtype)

    return run
