"""Odd but valid graphs, and damaged ones: a pass runs or says what is wrong, and never crashes."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from pass_helpers import DEMO, noted, text
from tiny_decoder import decoder_text, tiny

import onnx_passes
from onnx_passes.analysis.roles import Roles, note_roles
from onnx_passes.ir.dims import unresolved_dims
from onnx_passes.ir.graph import COUNTERS, GraphError

TINY = ir.to_proto(text(decoder_text()))
OPS = (
    *("Add", "Mul", "Sub", "Div", "Pow", "Neg", "Sqrt", "Reciprocal", "Cast", "Reshape"),
    *("Transpose", "Concat", "Slice", "Gather", "Shape", "Softmax", "Where", "Expand", "MatMul"),
    *("ReduceMean", "Identity", "Unsqueeze", "Squeeze", "Split", "Sigmoid", "Range", "Cos", "And"),
    *("RMSNormalization", "RotaryEmbedding", "Attention", "GroupQueryAttention", "Swish", "If"),
    *("SkipSimplifiedLayerNormalization", "SimplifiedLayerNormalization", "Constant", "Unknown"),
)


def survives(model: ir.Model) -> str:
    """Run everything; "ran", or "refused" by an error that says what, why and what to try."""
    try:
        for _ in onnx_passes.rewrite(model):
            pass
        unresolved_dims(model)
    except GraphError as error:
        assert error.what and error.because and error.hint
        return "refused"
    return "ran"


def damage(proto: onnx.ModelProto, luck: random.Random) -> None:
    """Change one thing somewhere in the graph."""
    graph = proto.graph
    node = luck.choice([n for n in graph.node if n.input])
    index = luck.randrange(len(node.input))
    values = [name for n in graph.node for name in n.output]
    values += [v.name for v in (*graph.initializer, *graph.input)]
    kinds = {
        "rename": lambda: setattr(node, "op_type", luck.choice(OPS)),
        "rewire": lambda: node.input.__setitem__(index, luck.choice(values)),
        "leave out": lambda: node.input.__setitem__(index, ""),
        "drop": lambda: node.input.pop(),
        "add": lambda: node.input.append(luck.choice(values)),
        "delete": lambda: _delete(graph, node),
        "attribute": lambda: _change_attribute(luck.choice(graph.node), luck),
        "constant": lambda: _change_constant(luck.choice(graph.initializer), luck),
        "input": lambda: _change_type(luck.choice(graph.input).type.tensor_type, luck),
        "output": lambda: graph.output.append(onnx.ValueInfoProto(name=luck.choice(values))),
    }
    kinds[luck.choice(sorted(kinds))]()


def _delete(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    gone, stand_in = set(node.output), node.input[0]
    graph.node.remove(node)
    for reader in graph.node:
        for i, name in enumerate(reader.input):
            if name in gone:
                reader.input[i] = stand_in


def _change_attribute(node: onnx.NodeProto, luck: random.Random) -> None:
    if not node.attribute or luck.random() < 0.3:
        name, value = luck.choice(("axis", "axes", "perm", "to")), luck.choice((0, [1], 1.5, "x"))
        node.attribute.append(onnx.helper.make_attribute(name, value))
        return
    attribute = luck.choice(node.attribute)
    attribute.i = luck.choice((-5, -1, 0, 2, 7, 1 << 40))
    numbers = [*attribute.ints, *luck.choice(([], [9]))]
    luck.shuffle(numbers)
    del attribute.ints[:]
    attribute.ints.extend(numbers[luck.choice((0, 1)) :])


def _change_constant(tensor: onnx.TensorProto, luck: random.Random) -> None:
    array = onnx.numpy_helper.to_array(tensor)
    forms: list[Any] = [
        array.reshape(-1)[:1].reshape(()),
        array.reshape(-1)[:0],
        array[None],
        np.clip(array, -9, 9).astype(luck.choice((np.int64, np.float16, np.float64, np.bool_))),
        array * 0,
    ]
    changed = np.ascontiguousarray(luck.choice(forms))
    tensor.CopyFrom(onnx.numpy_helper.from_array(changed, tensor.name))


def _change_type(kind: onnx.TypeProto.Tensor, luck: random.Random) -> None:
    if luck.random() < 0.3:
        kind.ClearField("shape")
    elif luck.random() < 0.5:
        kind.elem_type = luck.choice((1, 6, 7, 9, 10, 11))
    else:
        size = luck.choice(kind.shape.dim)
        size.Clear()
        size.dim_value = luck.choice((0, 1, 3))


def damaged(base: onnx.ModelProto, seeds: range) -> Iterator[ir.Model]:
    """Copies of the model with one to three things changed, as far as they can be read."""
    for seed in seeds:
        luck, proto = random.Random(seed), onnx.ModelProto()
        proto.CopyFrom(base)
        for _ in range(luck.choice((1, 1, 1, 2, 3))):
            damage(proto, luck)
        try:
            yield noted(ir.from_proto(proto), context=32, chunk=8)
        except ir.serde.SerdeError:
            continue


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(50, 200, 50))]
)
def test_damaged_decoders(first: int) -> None:
    outcomes = [survives(model) for model in damaged(TINY, range(first, first + 50))]
    assert outcomes.count("ran") > 3 and outcomes.count("refused") > 10


def test_damaged_copies_of_the_demo_model() -> None:
    base = onnx.load(DEMO)
    outcomes = [survives(model) for model in damaged(base, range(8))]
    assert set(outcomes) == {"ran", "refused"}


HEAD = '<ir_version: 10, opset_import: ["": %s, "other": 1, "com.microsoft": 1]>'
ODD = {
    "a scalar": "g (float x) => (float y) { y = Neg(x) }",
    "an empty tensor": "g (float[0, 4] x) => (float[0, 4] y) <float[0, 4] e> { y = Add(x, e) }",
    "no shape": "g (float[?, ?] x) => (float[?, ?] y) { z = Exp(x)  y = Transpose(z) }",
    "dead code": "g (float[2, 4] x) => (float[2, 4] y) { d = Neg(x)  e = Exp(d)  y = Abs(x) }",
    "an input as output": "g (float[2, 4] x) => (float[2, 4] x) { y = Neg(x) }",
    "a constant as output": "g (float[2] x) => (float[2] y, float[1] c) <float[1] c = {2.0}>"
    " { y = Neg(x) }",
    "one value, two outputs": "g (float[2] x) => (float[2] y, float[2] z) {"
    " y = Neg(x)  z = Identity(y) }",
    "another domain": "g (float[2, 4] x) => (float[2, 4] y) { z = other.Thing(x)  y = Mul(z, z) }",
    "optional inputs left out": "g (float[4, 4] x) => (float[4, 4] y) <int64[1] s = {0},"
    " int64[1] e = {4}> { z = Slice(x, s, e)  c = Clip(z, , )  y = Transpose(c) }",
    "constants as nodes": "g (float[2, 4] x) => (float[4, 2] y) {"
    "  c = Constant<value_ints = [4, 2]>()  f = Constant<value_float = 2.0>()"
    "  t = Constant<value_floats = [1.0, 2.0]>()  r = Reshape(x, c)  q = Mul(r, f)"
    "  y = Add(q, t) }",
    "strings": 'g (float[2] x) => (float[2] y) { s = Constant<value_string = "a">()  y = Neg(x) }',
    "counted shapes": "g (float[8] x) => (int64[1, n] y) { z = NonZero(x)  y = Identity(z) }",
    "a branch": "g (float[2, 4] x, bool c) => (float[2, 4] y) { y = If (c) <"
    "then_branch = t () => (float[2, 4] a) { a = Neg(x) },"
    "else_branch = e () => (float[2, 4] b) { b = Exp(x) }> }",
    "a constant branch": "g (float[2, 4] x) => (float[2, 4] y) <bool c = {1}> { y = If (c) <"
    "then_branch = t () => (float[2, 4] a) { a = Neg(x) },"
    "else_branch = e () => (float[2, 4] b) { b = Exp(x) }> }",
    "a loop": "g (float[2, 4] x) => (float[2, 4] y) <int64 n = {3}, bool c = {1}> {"
    " y = Loop (n, c, x) <body = b (int64 i, bool k, float[2, 4] v) => (bool k2, float[2, 4] w) {"
    " k2 = Identity(k)  w = Add(v, x) }> }",
    "softmax of nothing known": "g (float[?, ?, ?, ?] x) => (float[?, ?, ?, ?] y) {"
    " s = Softmax(x)  y = MatMul(s, x) }",
    "rotation of nothing known": "g (float[?, ?] x) => (float[?, ?] y) <float[4] k> {"
    " n = Neg(x)  h = Concat<axis = 1>(n, x)  a = Mul(x, k)  b = Mul(h, k)  y = Add(a, b) }",
    "fused ops, bare": "g (float[?, ?] x) => (float[?, ?] y) {"
    " a = com.microsoft.GroupQueryAttention(x)  b = com.microsoft.RotaryEmbedding(x)"
    " c = com.microsoft.SkipSimplifiedLayerNormalization(x)"
    " d = com.microsoft.SimplifiedLayerNormalization(x)"
    " e = Add(a, b)  f = Add(c, d)  y = Add(e, f) }",
}


@pytest.mark.parametrize(
    "opset", (11, 24, *(pytest.param(n, marks=pytest.mark.slow) for n in (13, 18, 21)))
)
@pytest.mark.parametrize("case", ODD)
def test_each_pass_alone_on_odd_graphs(case: str, opset: int) -> None:
    """No decoder, but with the notes that passes after the first rely on."""
    for run_pass in onnx_passes.PASSES:
        model = odd(HEAD % opset + ODD[case])
        try:
            run_pass(model)
        except GraphError as error:
            assert error.hint


def odd(source: str) -> ir.Model:
    model = noted(ir.from_onnx_text(source))
    roles = Roles("tokens", model.graph.outputs[0].name or "", None, None, ())
    note_roles(model, roles)
    for name in COUNTERS:
        model.graph.inputs.append(ir.val(name, dtype=ir.DataType.INT64, shape=[1]))
    return model


@pytest.mark.parametrize("case", ODD)
def test_odd_graphs_as_they_come(case: str) -> None:
    assert survives(noted(ir.from_onnx_text(HEAD % 18 + ODD[case]))) == "refused"


def test_odd_parts_beside_a_decoder_do_not_harm_it() -> None:
    branch = """If (flag) <then_branch = t () => (float[B, S, 32] a) { a = Neg(h) },
    else_branch = e () => (float[B, S, 32] b) { b = Add(h, o) }>"""
    model = tiny(
        ("h1 = Add(h, o)", f"m = ReduceSum<keepdims = 0>(h)  flag = Cast<to = 9>(m)  h1 = {branch}")
    )
    assert survives(model) == "ran"
    assert [node.op_type for node in model.graph].count("If") == 1
    assert [node.op_type for node in model.graph].count("Attention") == 1
