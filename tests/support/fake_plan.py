"""A plan as far as the product layer looks at it, and a fake executor for it."""

from typing import Any

import pytest
from fake import CHUNK, CONTEXT, EOS, VOCAB, FakeExecutor

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
)


def dispatch(name: str, program: int, *args: Any, writes: tuple[int, ...] = ()) -> Dispatch:
    return Dispatch(0, name, args, writes, (Variant(program, (1,), (1,)),))


@pytest.fixture
def plan() -> Plan:
    """A plan of two dispatches, as far as the product layer looks at it."""
    buffers = (
        Buffer("ids", "output", "i32", (1, CONTEXT + 1), 4 * (CONTEXT + 1)),
        Buffer("layers.0.k", "state", "f32", (1, 2, CONTEXT, 8), 6400),
        Buffer("layers.0.v", "state", "f32", (1, 2, CONTEXT, 8), 6400),
    )
    states = tuple(State(i, "layers.0", "?kv"[i], "append", 2, CONTEXT) for i in (1, 2))
    kernels = ("rope_kv", "attention_decode_cpu", "copy")
    steps = (
        dispatch("layers.0.rope", 0, ("symbols",), ("buffer", 1), ("buffer", 2), writes=(1, 2)),
        dispatch("layers.0.attention", 1, ("symbols",), ("buffer", 1), ("buffer", 2)),
        HostStep("fetch", (("buffer", 0),)),
    )
    bounds = {"seq": (1, CHUNK), "rows": (1, 1)}
    source = {"path": "/nowhere/model.onnx", "sha256": "0" * 64}
    return Plan(
        generator="test",
        model={
            "vocab_size": VOCAB,
            "max_context": CONTEXT,
            "prefill_chunk": CHUNK,
            "eos": [EOS],
            "source": source,
        },
        profile={"name": "pocl", "class": "cpu", "align": 128},
        symbols=(
            SymbolDecl("seq", "input", 1, CHUNK, 0),
            SymbolDecl("past", "input", 0, CONTEXT, 1),
            SymbolDecl("rows", "input", 1, 1, 2),
        ),
        buffers=buffers,
        states=states,
        weights=(),
        files=(),
        programs=tuple(Program(f"kernels/{k}.cl", k, ()) for k in kernels),
        phases=(Phase("decode", "fake", bounds, True, (), steps),),
    )


@pytest.fixture
def executor(plan: Plan) -> FakeExecutor:
    return FakeExecutor(plan)
