"""Roles by structure, symbols of our own, and what every pass may rely on."""

import numpy as np
import onnx_ir as ir
import pytest
from pass_helpers import noted, run, text
from tiny_decoder import decoder_text, feeds, tiny

import onnx_passes
from onnx_passes import INTAKE, Outcome, intake
from onnx_passes.analysis.roles import RoleError, roles_of
from onnx_passes.ir.dims import unresolved_dims
from onnx_passes.ir.graph import GraphError

FUSED = {"MatMul": 4, "AddRmsNorm": 2, "RopeKvWrite": 1, "Attention": 1, "Glu": 1, "Linear": 1}


def fused(model: ir.Model) -> bool:
    """Whether the passes find all that there is in the decoder."""
    for _ in onnx_passes.rewrite(model):
        pass
    ops = [node.op_type for node in model.graph]
    return unresolved_dims(model) == [] and all(ops.count(op) == n for op, n in FUSED.items())


def counts(model: ir.Model) -> dict[str, int]:
    """What each pass of the intake counts, and nothing is missed."""
    found: dict[str, Outcome] = {run.__name__: run(model) for run in INTAKE}
    assert all(outcome.misses == () for outcome in found.values())
    return {name: outcome.rewrites for name, outcome in found.items() if outcome.rewrites}


def test_roles_come_from_structure() -> None:
    model = tiny()
    intake(model)
    roles = roles_of(model)
    assert (roles.tokens, roles.mask, roles.positions) == (
        *("input_ids", "attention_mask", "position_ids"),
    )
    assert roles.logits == "logits"
    assert roles.cache == (("cache_k", "new_k"), ("cache_v", "new_v"))
    shapes = {value.name: str(value.shape) for value in model.graph.inputs}
    assert shapes == {
        **{"input_ids": "[1,seq]", "cache_k": "[1,2,past,8]", "cache_v": "[1,2,past,8]"},
        **{"past": "[1]", "start": "[1]", "rows": "[1]"},
    }


def test_each_pass_of_the_intake_counts_its_own() -> None:
    """A model with something to do for each, beside the names of its dimensions and its roles."""
    body = "sg = Sigmoid(gate)  act = Mul(gate, sg)\n  mix = Mul(act, up)"
    function = """
<domain: "own", opset_import: ["": 17]>
Swiglu (gate, up) => (mix) { s = Sigmoid(gate)  a = Mul(gate, s)  mix = Mul(a, up) }"""
    source = decoder_text(opset="17").replace('["": 17]', '["": 17, "own": 1]')
    source = source.replace(body, "mix = own.Swiglu(gate, up)") + function
    source = source.replace("before = Sub(total, seq)", "past = Sub(total, seq) before = Neg(past)")
    source = source.replace("int64[B, S] position_ids,", "int64[B, S] position_ids, bool unread,")
    model = noted(text(source), context=32, chunk=8)
    last = model.graph[-1]  # out of order
    model.graph.remove(last)
    model.graph.insert_before(model.graph[0], [last])
    found = counts(model)
    assert found.pop("sort_nodes") > 100 and found.pop("free_names") > 10
    assert found == {
        "inline_functions": 1,
        "raise_opset": 1,
        "prune": 1,
        "canonicalize_dims": 5,
        "count_inputs": 2,
    }


def test_caches_are_found_behind_casts() -> None:
    """CodeGen's exports cast the present to the type that it has already."""
    joins = "new_k = Concat<axis = 2>(cache_k, kr)  new_v = Concat<axis = -2>(cache_v, v)"
    casts = """pk = Cast<to = 1>(cache_k) jk = Concat<axis = 2>(pk, kr) new_k = Cast<to = 1>(jk)
      jv = Concat<axis = -2>(cache_v, v)  iv = Identity(jv)  new_v = Cast<to = 1>(iv)"""
    model = tiny((joins, casts))
    assert fused(model)
    assert roles_of(model).cache == (("cache_k", "new_k"), ("cache_v", "new_v"))


def test_all_passes_keep_what_the_decoder_says() -> None:
    given, model = tiny(), tiny()
    assert fused(model)
    expected, *_ = run(given, feeds(7))
    actual, *_ = run(model, feeds(7))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "symbols",
    [
        {"B": "N", "S": "S", "T": "E", "P": "I"},
        {"B": "s10", "S": "s70", "T": "s43", "P": "s15"},
        {"B": "seq", "S": "past", "T": "rows", "P": "seq"},
        {"B": "lambda", "S": "if", "T": "None", "P": "import"},
        {"B": "1", "S": "S", "T": "T", "P": "P"},
    ],
)
def test_names_of_dimensions_mean_nothing(symbols: dict[str, str]) -> None:
    assert fused(tiny(**symbols))


@pytest.mark.parametrize(
    "name", ("__import__('os').abort()", "past + seq", "a b-c", "?", "Ü.1", "")
)
def test_any_text_may_name_a_dimension(name: str) -> None:
    model = tiny()
    for value in model.graph.inputs:
        assert value.shape is not None
        value.shape = ir.Shape([d if isinstance(d, int) else name for d in value.shape])
    assert fused(model)


def test_batches() -> None:
    model = noted(tiny(), context=32, chunk=8, batch=3)
    assert fused(model)
    assert [v.shape[0] for v in model.graph.inputs if v.name in ("input_ids", "start")] == [3, 3]


def test_a_boolean_mask() -> None:
    assert fused(tiny(mask_type="bool"))


def test_positions_may_be_missing() -> None:
    source = decoder_text().replace("  int64[B, S] position_ids,\n", "")
    before = "before = Sub(total, seq)  index = Range(i0, seq, i1)  at0 = Add(index, before)"
    source = source.replace(before, "")
    early = """shape = Shape(x)  pshape = Shape(cache_k)  before = Gather(pshape, i2)
    seq0 = Gather(shape, i1)  index = Range(i0, seq0, i1)  at0 = Add(index, before)
    position_ids = Unsqueeze(at0, v0)"""
    source = source.replace("shape = Shape(x)", early, 1)
    model = noted(text(source), context=32, chunk=8)
    assert fused(model)
    assert roles_of(model).positions is None


def test_a_mask_may_be_missing() -> None:
    source = (
        decoder_text()
        .replace(", int64[B, T] attention_mask", "")
        .replace("real0 = Cast<to = 9>(attention_mask)  real1 = Unsqueeze(real0, v1)", "")
    )
    source = source.replace("real = Unsqueeze(real1, v2)  seen = And(causal, real)", "")
    source = source.replace("Where(seen, fzero, low)", "Where(causal, fzero, low)")
    model = noted(text(source), context=32, chunk=8)
    assert fused(model)
    assert roles_of(model).mask is None


REFUSED = {
    "an unknown input": (
        ("int64[B, S] position_ids,", "int64[B, S] position_ids, float[B, S, 32] adapter,"),
        ("h1 = Add(h, o)", "hh = Add(h, o)  h1 = Add(hh, adapter)"),
        "no role for the input 'adapter'",
    ),
    "an unknown output": (
        ("=> (float", "=> (float[B, S, 32] h1, float"),
        ("", ""),
        "no role for the output",
    ),
    "no embedding": (
        ("int64[B, S] input_ids", "float[B, S, 32] embeddings"),
        ("h = Gather(table, input_ids)", "h = Identity(embeddings)"),
        "no input of the model is a sequence of token ids",
    ),
    "a mask of rank 3": (
        ("int64[B, T] attention_mask", "int64[B, S, T] attention_mask"),
        ("real1 = Unsqueeze(real0, v1)", "real1 = Identity(real0)"),
        "the input 'attention_mask' has rank 3",
    ),
    "caches of unknown width": (
        ("float[B, 2, P, 8] cache_k", "float[B, H, P, 8] cache_k"),
        ("", ""),
        "the cache input 'cache_k' has the shape",
    ),
    "an input of our name": (
        ("int64[B, S] position_ids", "int64[B, S] start"),
        ("Cast<to = 1>(position_ids)", "Cast<to = 1>(start)"),
        "the model has an input named 'start'",
    ),
    "a node without an input": (("s1 = Sqrt(e1)", "s1 = Sqrt()"), ("", ""), "is not valid"),
    "a node without its attribute": (
        ("f4 = Concat<axis = -1>(f3, f3)", "f4 = Concat(f3, f3)"),
        ("", ""),
        "is not valid: its attribute axis is missing",
    ),
    "a cycle": (("h1 = Add(h, o)", "h1 = Add(h, h2)"), ("", ""), "the model's graph has a cycle"),
    "an unknown attribute": (
        ("f4 = Concat<axis = -1>(f3, f3)", "f4 = Concat<axis = -1, way = 1>(f3, f3)"),
        ("", ""),
        "is not valid: its attribute way is not known",
    ),
    "an attribute of another type": (
        ("f4 = Concat<axis = -1>(f3, f3)", "f4 = Concat<axis = 1.5>(f3, f3)"),
        ("", ""),
        "is not valid: its attribute axis is of the wrong type",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str) -> None:
    first, second, message = REFUSED[case]
    source = decoder_text().replace(*first).replace(*second)
    assert source != decoder_text()
    with pytest.raises(GraphError) as caught:
        intake(noted(text(source)))
    error = caught.value
    assert message in f"{error.what}: {error.because}" and error.hint
    assert isinstance(error, RoleError) or "role" not in message


def test_our_names_inside_the_model_are_freed() -> None:
    model = tiny(("before = Sub(total, seq)", "past = Sub(total, seq)  before = Neg(past)"))
    intake(model)
    names = [v.name for n in model.graph for v in n.outputs]
    assert "past" not in names and "past.of_model" in names


def test_initializers_that_are_inputs_are_constants() -> None:
    first, second = tiny(), tiny()
    for model in (first, second):
        model.graph.inputs.extend(list(model.graph.initializers.values()))
    assert counts(first)["drop_constant_inputs"] == len(second.graph.initializers)
    assert fused(second)


@pytest.mark.parametrize("opset", [str(opset) for opset in range(18, 28)])
def test_opsets(opset: str) -> None:
    assert fused(tiny(opset=opset))


@pytest.mark.parametrize("opset", ("13", "17"))
def test_older_opsets_are_raised(opset: str) -> None:
    given, model = tiny(opset=opset), tiny(opset=opset)
    assert fused(model)
    assert model.opset_imports[""] >= 18
    expected, *_ = run(given, feeds(5))
    np.testing.assert_allclose(run(model, feeds(5))[0], expected, rtol=1e-4, atol=1e-4)


def test_functions_of_the_model_are_inlined() -> None:
    function = """
<domain: "own", opset_import: ["": 18]>
Swiglu (gate, up) => (mix) { s = Sigmoid(gate)  a = Mul(gate, s)  mix = Mul(a, up) }"""
    source = decoder_text().replace('["": 18]', '["": 18, "own": 1]')
    body = "sg = Sigmoid(gate)  act = Mul(gate, sg)\n  mix = Mul(act, up)"
    assert body in source
    model = noted(text(source.replace(body, "mix = own.Swiglu(gate, up)") + function), 32, 8)
    assert fused(model)
    assert not model.functions
