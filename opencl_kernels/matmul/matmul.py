"""What the matrix products share: arguments, defines and the numpy reference (see matmul.clh).

A case names the storage of its weight: "f32" or "f16" (layout n16), "e0m4" or "q8" (codes, with
"GROUP", and the storage of scales "scale" and of zero points "zero", where there are any).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from opencl_kernels.formats import CODED, STRIP, Array, Coded, unpack_codes, unpack_n16
from opencl_kernels.kernel import (
    Argument,
    Case,
    Defines,
    c_float,
    ceil_div,
    nbytes,
    storage_defines,
)
from opencl_kernels.matmul.glu import activation_define, gated

ZEROS = ("", "u8", "f16", "f32")  # in the order of the define ZERO


def weight_arguments(case: Case, name: str, rows: str, depth: str) -> tuple[Argument, ...]:
    """The weight, and where it is coded its scales and zero points; `rows`, `depth`: case keys."""
    if case.get("w") not in CODED:
        return (Argument(name, "w", lambda c: (ceil_div(c[rows], 16), c[depth], 16), "weight"),)
    codes = Argument(name, "u32", lambda c: (ceil_div(c[rows], 32), words(c, depth), 32), "weight")
    per_group = [("scale", str(case["scale"])), ("zero", str(case.get("zero", "")))]
    return codes, *(
        Argument(n, dtype, lambda c: (ceil_div(c[rows], 32), groups(c, depth), 32), "weight")
        for n, dtype in per_group
        if dtype
    )


def groups(case: Case, depth: str = "K") -> int:
    """Groups along the depth of a coded weight."""
    return int(ceil_div(case[depth], case["GROUP"]))


def words(case: Case, depth: str = "K") -> int:
    """Words of 32 bits in a row of a coded weight, the last group filled up."""
    return groups(case, depth) * int(case["GROUP"]) * CODED[case["w"]] // 32


def weight_defines(case: Case) -> Defines:
    """BITS and what belongs to it."""
    bits = CODED.get(case.get("w", "f32"), 0)
    if not bits:
        return {**storage_defines(case, "w"), "BITS": 0}
    zero = ZEROS.index(case.get("zero", ""))
    return {"BITS": bits, "GROUP": case["GROUP"], "ZERO": zero, **storage_defines(case, "scale")}


def weight_values(inputs: Mapping[str, Array], case: Case, name: str, N: int, K: int) -> Array:
    """W[N, K] in float64."""
    if case.get("w") not in CODED:
        return unpack_n16(inputs[name], N, K).astype(np.float64)
    bits, group = CODED[case["w"]], case["GROUP"]
    scale, zero = (
        None if n not in inputs else unpack_n16(inputs[n], N, -(-K // group), STRIP)
        for n in ("scale", "zero")
    )
    codes_NK = unpack_codes(inputs[name], bits, N, K)
    assert scale is not None
    return Coded(codes_NK, scale, zero, bits, group).values(np.float64)


def reference(inputs: Mapping[str, Array], case: Case) -> dict[str, Array]:
    """y = norm(x) W^T + bias + r (GLU: act(gate) * up of it) at columns Y0 on; the rest stays."""
    w_NK = weight_values(inputs, case, "w", case["N"], case["K"])
    x_MK = inputs["x"][:, : case["K"]].astype(np.float64)
    if "EPS" in case:
        mean_M1 = np.mean(x_MK * x_MK, axis=-1, keepdims=True)
        x_MK = x_MK / np.sqrt(mean_M1 + case["EPS"]) * inputs["gamma"]
    y_MN = x_MK @ w_NK.T + inputs.get("bias", np.zeros(1))
    if case.get("GLU"):
        pairs = y_MN.reshape(case["M"], -1, 2, 16)
        y_MN = (gated(pairs, case)).reshape(case["M"], -1)
    wide = inputs.get("y", np.zeros((case["M"], row_width(case)))).astype(np.float64)
    first, columns = case.get("Y0", 0), output_columns(case)
    rest = inputs["r"][:, first : first + columns] if "r" in inputs else 0.0
    wide[:, first : first + columns] = y_MN[:, :columns] + rest
    return {"y": wide}


def output_columns(case: Case) -> int:
    """Columns that one launch writes: N, or F where GLU folds gate and up."""
    return int(case["F"] if case.get("GLU") else case["N"])


def row_width(case: Case) -> int:
    """LDY: elements from one row of y to the next."""
    return int(case.get("LDY", output_columns(case)))


def arguments(case: Case) -> tuple[Argument, ...]:
    """In the order of matmul.clh; y keeps its other columns where it is wider."""
    part = row_width(case) != output_columns(case)
    x = Argument("x", "x", lambda c: (c["M"], c.get("LDX", c["K"])), "in")
    gamma = Argument("gamma", "f32", lambda c: (c["K"],), "weight")
    bias = Argument("bias", "f32", lambda c: (c["N"],), "weight")
    r = Argument("r", "x", lambda c: (c["M"], row_width(c)), "in")
    y = Argument("y", "y", lambda c: (c["M"], row_width(c)), "inout" if part else "out")
    return (
        x,
        *([gamma] if "EPS" in case else []),
        *weight_arguments(case, "w", "N", "K"),
        *([bias] if case.get("bias") else []),
        *([r] if case.get("residual") else []),
        y,
    )


def defines(case: Case) -> Defines:
    """Sizes, strides and options of one product."""
    return {
        **storage_defines(case, "x", "y"),
        **weight_defines(case),
        "N": case["N"],
        "K": case["K"],
        "LDX": case.get("LDX", case["K"]),
        "LDY": row_width(case),
        "Y0": case.get("Y0", 0),
        "BIAS": int(bool(case.get("bias"))),
        "RESIDUAL": int(bool(case.get("residual"))),
        "NORM": int("EPS" in case),
        "EPS": c_float(case.get("EPS", 0)),
        "GLU": int(bool(case.get("GLU"))),
        **activation_define(case),
        "F": case.get("F", 0),
    }


def work(case: Case) -> tuple[int, int]:
    """Every buffer once; a multiplication and an addition per weight and row."""
    return nbytes(arguments(case), case), 2 * case["M"] * case["N"] * case["K"]
