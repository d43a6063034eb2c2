"""Half precision, all through or inside only, as converters leave it: nodes in no order, casts."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from pass_helpers import noted, run, text
from tiny_decoder import decoder_text, tiny

import onnx_passes
from onnx_passes.weights.lazy import Cast, Concat, Transposed, stored_in
from onnx_passes.widen_floats import widen_floats

KEPT = {  # ops that a converter leaves in float32, with casts around them
    "none": (),
    "caches": ("Concat",),
    "attention": ("Softmax",),
    "silu": ("Sigmoid",),
    "embedding": ("Gather",),
}


def half(kept: str = "none", keep_io_types: bool = True) -> onnx.ModelProto:
    """The tiny decoder after the converter that ONNX Runtime ships."""
    blocked = [*DEFAULT_OP_BLOCK_LIST, *KEPT[kept]]
    proto = ir.to_proto(text(decoder_text()))
    made = convert_float_to_float16(proto, keep_io_types=keep_io_types, op_block_list=blocked)
    once = {tuple(node.output): node for node in made.graph.node}  # it repeats casts, by one name
    nodes = list(once.values())
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made


def feeds(seq: int, past: int, dtype: type) -> dict[str, np.ndarray]:
    cache = np.random.default_rng(2).standard_normal((1, 2, past, 8)).astype(dtype)
    return {
        "input_ids": np.random.default_rng(1).integers(0, 40, (1, seq)),
        "attention_mask": np.ones((1, past + seq), np.int64),
        "position_ids": np.arange(past, past + seq)[None],
        **{"cache_k": cache, "cache_v": cache},
        **{"state.layers.0.k": _state(cache), "state.layers.0.v": _state(cache)},
        **{"past": np.array([past]), "start": np.array([0]), "rows": np.array([seq])},
    }


def _state(cache: np.ndarray) -> np.ndarray:
    state = np.zeros((1, 2, 32, 8), np.float32)
    state[:, :, : cache.shape[2]] = cache
    return state


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("keep_io_types", [True, False])
def test_reaches_the_form_of_single_precision(kept: str, keep_io_types: bool) -> None:
    proto, plain = half(kept, keep_io_types), tiny()
    given, model = ir.from_proto(proto), noted(ir.from_proto(proto), context=32, chunk=8)
    for each in (model, plain):
        for _ in onnx_passes.rewrite(each):
            pass
    assert [n.op_type for n in model.graph] == [n.op_type for n in plain.graph]
    values = [*model.graph.inputs, *(v for n in model.graph for v in n.outputs)]
    assert {v.dtype for v in values if v.dtype and v.dtype.is_floating_point()} == {
        ir.DataType.FLOAT
    }
    arrays = feeds(5, 4, np.float32 if keep_io_types else np.float16)
    expected, actual = run(given, arrays)[0], run(model, arrays)[0]
    np.testing.assert_allclose(actual, expected, rtol=0.02, atol=0.02)


def test_weights_know_the_type_they_came_in() -> None:
    model = noted(ir.from_proto(half()), context=32, chunk=8)
    for _ in onnx_passes.rewrite(model):
        pass
    weights = [n.inputs[1] for n in model.graph if n.op_type in ("MatMul", "Linear")]
    weights += [n.inputs[0] for n in model.graph if n.op_type == "Gather"]
    assert len(weights) == 6
    for value in weights:
        assert value is not None and value.const_value is not None
        assert value.dtype == ir.DataType.FLOAT
        assert stored_in(value.const_value) == ir.DataType.FLOAT16


def test_the_narrowest_type_on_the_way_is_the_one_that_counts() -> None:
    """float32 that an exporter cast to half before its use is float16 from then on."""
    single = ir.tensor(np.ones((2, 3), np.float32), name="w")
    narrow = Cast(single, ir.DataType.FLOAT16, "h")
    wide = Cast(narrow, ir.DataType.FLOAT, "f")
    assert stored_in(single) == ir.DataType.FLOAT
    assert stored_in(narrow) == stored_in(Transposed(wide, "t")) == ir.DataType.FLOAT16
    assert stored_in(Concat([single, wide], "j")) == ir.DataType.FLOAT


def test_branches_constants_and_bfloat16() -> None:
    source = """<ir_version: 10, opset_import: ["": 18]>
    before (bfloat16[4] x, bool[1] yes) => (bfloat16[4] y)
    { half = Constant<value = bfloat16[1] {0.5}>()
      y = If(yes) <
        then_branch = a () => (bfloat16[4] t) { t = Mul(x, half) },
        else_branch = b () => (bfloat16[4] e) { f = Cast<to = 1>(x)  e = Cast<to = 16>(f) }> }"""
    model = text(source.replace("bfloat16[1] {0.5}", "float[1] {0.5}"))
    node = model.graph[0]
    array = ir.tensor([0.5], dtype=ir.DataType.BFLOAT16)
    node.attributes["value"] = ir.AttrTensor("value", array)
    widen_floats(model)
    proto = ir.to_proto(model)
    kind = onnx.TensorProto.BFLOAT16
    assert str(kind) not in str(proto).split("elem_type: ")[1:]
    for yes, expected in ((True, 0.5), (False, 1.0)):
        (y,) = run(model, {"x": np.ones(4, np.float32), "yes": np.array([yes])})
        assert y.dtype == np.float32 and (y == expected).all()


def test_single_precision_is_not_touched() -> None:
    model = tiny()
    before = [(n.op_type, *(v.dtype for v in n.outputs)) for n in model.graph]
    widen_floats(model)
    assert [(n.op_type, *(v.dtype for v in n.outputs)) for n in model.graph] == before
