"""A plan of one product, one state and one table, small enough to count by hand.

A prefill of up to CHUNK tokens multiplies [seq, K] by [K, N]; a decode step has one row.
"""

from typing import Any

from toolkit.plan.expr import symbol, to_rpn
from toolkit.plan.schema import (
    Buffer,
    Dispatch,
    HostStep,
    Phase,
    Plan,
    Program,
    State,
    SymbolDecl,
    Variant,
    Weight,
)

N, K, CHUNK, CONTEXT, WINDOW = 32, 16, 8, 40, 10
SEQ = symbol("seq")


def product_plan(**changed: Any) -> Plan:
    """The plan; `changed` are fields with other values."""
    cases = [{"M": to_rpn(SEQ), "N": N, "K": K}, {"M": 1, "N": N, "K": K}]
    kernels = ("gemm", "gemv")
    fields: dict[str, Any] = {
        "generator": "test",
        "model": {"max_context": CONTEXT, "prefill_chunk": CHUNK, "batch": 1, "options": {}},
        "profile": {"name": "adreno", "class": "adreno", "align": 128},
        "symbols": _symbols(),
        "buffers": (
            Buffer("ids", "output", "i32", (1, CONTEXT), 4 * CONTEXT),
            Buffer("layers.0.k", "state", "f16", (1, 1, CONTEXT, 4), 8 * CONTEXT),
            Buffer("layers.1.k", "state", "f16", (1, 1, WINDOW, 4), 8 * WINDOW),
        ),
        "states": (
            State(1, "layers.0", "k", "append", 2, CONTEXT),
            State(2, "layers.1", "k", "append", 2, WINDOW),
        ),
        "weights": (
            Weight("w", "f32", "n16", (N, K), 0, 0, 4 * N * K),
            Weight("cos", "f32", "rows", (CONTEXT, 2), 0, 16384, 8 * CONTEXT),
        ),
        "files": (),
        "programs": tuple(
            Program(f"kernels/{kernel}.cl", kernel, (), case=case)
            for kernel, case in zip(kernels, cases, strict=True)
        ),
        "phases": (
            _phase("prefill", {"seq": (1, CHUNK), "rows": (1, 1)}, 0, 700),
            _phase("decode", {"seq": (1, 1), "rows": (1, 1)}, 1, 300),
        ),
    }
    return Plan(**{**fields, **changed})


def _symbols() -> tuple[SymbolDecl, ...]:
    bounds = {"seq": (1, CHUNK), "past": (0, CONTEXT), "rows": (1, 1)}
    return tuple(SymbolDecl(n, "input", *b, i) for i, (n, b) in enumerate(bounds.items()))


def _phase(name: str, bounds: dict[str, tuple[int, int]], program: int, arena: int) -> Phase:
    variant = Variant(program, (1,), (1,))
    steps = (
        Dispatch(0, "product", (("symbols",), ("weight", 0)), (), (variant,)),
        Dispatch(0, "product again", (("symbols",), ("weight", 0)), (), (variant,)),
        HostStep("fetch", (("buffer", 0),)),
    )
    return Phase(name, "decoder", bounds, False, (), steps, arena_bytes=arena)
