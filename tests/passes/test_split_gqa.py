"""com.microsoft.GroupQueryAttention, and the states that caches become."""

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as runtime
from pass_helpers import CHUNK, decoder, missed, op_types, run, same_outputs

from onnx_passes import Facts
from onnx_passes.analysis.masks import NO_WINDOW
from onnx_passes.fuse_attention import fuse_attention
from onnx_passes.kv_in_place import kv_in_place
from onnx_passes.split_gqa import split_gqa

CONTEXT, WIDTH = 40, 16
LENGTHS = """sum = ReduceSum<keepdims = 0>(mask, one)  less = Sub(sum, unit)
  lengths = Cast<to = 6>(less)  shape = Shape<start = 1, end = 2>(mask)  t0 = Squeeze(shape)
  total = Cast<to = 6>(t0)"""
HEAD = """<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>
before (%(inputs)s, int64[1, total] mask, float[1, 2, past, 16] past_k,
  float[1, 2, past, 16] past_v)
  => (float[1, S, 64] y, float[1, 2, total, 16] present_k, float[1, 2, total, 16] present_v)
<int64 unit = {1}, int64[1] one = {1}%(tables)s%(weights)s>
{ %(lengths)s
  y, present_k, present_v = com.microsoft.GroupQueryAttention <num_heads = 4, kv_num_heads = 2
  %(attributes)s>(%(operands)s, past_k, past_v, lengths, total %(more)s) }"""
PACKED = {"inputs": "float[1, S, 128] qkv", "operands": "qkv, , "}
APART = {
    "inputs": "float[1, S, 64] q, float[1, S, 32] k, float[1, S, 32] v",
    "operands": "q, k, v",
}
TURNED = {"attributes": ", do_rotary = 1", "more": ", c, s"}


def gqa(rows: str = "48", **parts: str) -> ir.Model:
    source = HEAD % {
        "tables": f", float[{rows}, 8] c, float[{rows}, 8] s",
        "weights": "",
        "lengths": LENGTHS,
        "attributes": "",
        "more": "",
        **PACKED,
        **parts,
    }
    return decoder(source, context=CONTEXT, S="seq")


def feeds(past: int, seq: int) -> dict[str, np.ndarray]:
    return {
        "tokens": np.zeros((1, seq), np.int64),
        "past": np.array([past]),
        "start": np.array([0]),
        "rows": np.array([seq]),
    }


@pytest.mark.parametrize("past, seq", [(0, 1), (0, 9), (7, 1), (5, 4)])
@pytest.mark.parametrize("operands", (PACKED, APART))
@pytest.mark.parametrize("turned", ({}, TURNED))
def test_splits_and_keeps_the_values(
    past: int, seq: int, operands: dict[str, str], turned: dict[str, str]
) -> None:
    model = gqa(**operands, **turned)
    if past and seq > 1:  # ONNX Runtime's op takes several tokens only into an empty cache
        assert missed(split_gqa, model)[0] == 1
        return
    with same_outputs(model, feeds(past, seq), seq=seq, past=past, tolerance=2e-5):
        assert split_gqa(model).rewrites == 1
    ops = op_types(model)
    assert ops.count("Rope") == (2 if turned else 0)
    assert ops.count("Attention") == 1 and ops.count("Concat") == 2


@pytest.mark.parametrize(
    "attributes, scale, window, overload",
    [
        (", do_rotary = 1, rotary_interleaved = 1", 0.25, NO_WINDOW, "interleaved"),
        (", do_rotary = 1, scale = 0.5", 0.5, NO_WINDOW, ""),
        (", do_rotary = 1, local_window_size = 3", 0.25, 3, ""),
    ],
)
def test_attributes(attributes: str, scale: float, window: int, overload: str) -> None:
    model = gqa(attributes=attributes, more=", c, s")
    with same_outputs(model, feeds(0, 9), seq=9, past=0, tolerance=2e-5):
        assert split_gqa(model).rewrites == 1
    (node,) = [n for n in model.graph if n.op_type == "Attention"]
    assert node.attributes["scale"].as_float() == pytest.approx(scale)
    assert node.attributes["window"].as_int() == window
    assert {n.overload for n in model.graph if n.op_type == "Rope"} == {overload}


SCORINGS = {  # attributes, operands after the total length, weights and inputs
    "capped": (", softcap = 2.0", "", "", ""),
    "smooth": (", smooth_softmax = 1", "", "", ""),
    "sinks": ("", ", , , , , sinks", ", float[4] sinks", ""),
    "sinks, a window": (", local_window_size = 3", ", , , , , sinks", ", float[4] sinks", ""),
    "biased": ("", ", , , , bias", "", ", float[1, 1, S, total] bias"),
    "biased by head": ("", ", , , , bias", "", ", float[1, 4, S, total] bias"),
    "all": (", do_rotary = 1, softcap = 2.0", ", c, s, , bias, sinks", ", float[4] sinks",
            ", float[1, 4, S, total] bias"),
}  # fmt: skip


@pytest.mark.parametrize("past, seq", [(0, 9), (7, 1)])
@pytest.mark.parametrize(
    ("attributes", "more", "weights", "inputs"), SCORINGS.values(), ids=SCORINGS
)
def test_other_scores_are_spelled_out(
    attributes: str, more: str, weights: str, inputs: str, past: int, seq: int
) -> None:
    parts = {"inputs": PACKED["inputs"] + inputs, "operands": PACKED["operands"]}
    model = gqa(attributes=attributes, more=more, weights=weights, **parts)
    with same_outputs(model, feeds(past, seq), seq=seq, past=past, tolerance=2e-5):
        assert split_gqa(model).rewrites == 1
    ops = op_types(model)
    assert "Attention" not in ops and ops.count("Softmax") == 1 and ops.count("Concat") >= 2


def test_queries_and_keys_are_normalised_before_they_turn() -> None:
    """ONNX Runtime's CPU has no kernel for it: the node of the norms alone is the judge."""
    gammas = ", float[16] q_gamma, float[16] k_gamma"
    more = ", c, s, , , , , , q_gamma, k_gamma"
    model = gqa(attributes=", do_rotary = 1", more=more, weights=gammas)
    assert missed(split_gqa, model) == (1, [])
    norms = [node for node in model.graph if node.op_type == "RmsNorm"]
    readers = [{use.node.op_type for use in node.outputs[0].uses()} for node in norms]
    assert readers == [{"Rope"}, {"Rope"}]
    assert [node.inputs[1].name for node in norms] == ["q_gamma", "k_gamma"]


LONG_TABLES = """lasts = Constant <value_int = {last}> ()  beyond = Greater(t0, lasts)
  c, s = If (beyond) <then_branch = far () => (float[48, 8] fc, float[48, 8] fs)
  {{ fc = Identity(long_c)  fs = Identity(long_s) }},
  else_branch = near () => (float[12, 8] nc, float[12, 8] ns)
  {{ nc = Identity(short_c)  ns = Identity(short_s) }}>"""


def longrope(last: int, short: int = 12) -> ir.Model:
    """Texts of more than `last` tokens turn by other tables."""
    weights = f", float[48, 8] long_c, float[48, 8] long_s, float[{short}, 8] short_c, "
    weights += f"float[{short}, 8] short_s"
    branches = LONG_TABLES.format(last=last).replace("[12,", f"[{short},")
    model = gqa(lengths=f"{LENGTHS}  {branches}", tables="", weights=weights, **TURNED)
    for node in model.graph:
        for graph in (a.as_graph() for a in node.attributes.values() if a.name.endswith("branch")):
            for inner, output in zip(list(graph), graph.outputs, strict=True):
                source = inner.inputs[0]
                assert source is not None and source.const_value is not None
                made = ir.node("Constant", [], {"value": source.const_value}, num_outputs=1)
                made.outputs[0].name = f"{output.name}/value"
                graph.insert_before(inner, made)
                inner.replace_input_with(0, made.outputs[0])
                graph.outputs[graph.outputs.index(output)] = made.outputs[0]
                graph.remove(inner, safe=True)
    return model


def test_positions_that_count_the_tokens() -> None:
    inputs = "float[1, S, 128] qkv, int64[1, S] positions"
    model = gqa(inputs=inputs, attributes=TURNED["attributes"], more=", c, s, positions")
    assert missed(split_gqa, model) == (1, [])


@pytest.mark.parametrize("past, seq", [(0, 12), (11, 1), (12, 1), (0, 20), (0, 1)])
def test_tables_that_the_length_chooses(past: int, seq: int) -> None:
    model = longrope(12)
    with same_outputs(model, feeds(past, seq), seq=seq, past=past, tolerance=2e-5):
        assert split_gqa(model).rewrites == 1
    assert "Where" in op_types(model)


def test_tables_of_texts_beyond_the_context_go() -> None:
    model = longrope(CONTEXT, short=CONTEXT)
    with same_outputs(model, feeds(0, 20), seq=20, past=0, tolerance=2e-5):
        assert split_gqa(model).rewrites == 1
    assert not {"Where", "If"} & set(op_types(model))


def test_tables_that_end_before_another_is_chosen() -> None:
    (reason,) = missed(split_gqa, longrope(20))[1]
    assert "no constants of 20 rows or more" in reason


@pytest.mark.parametrize("attribute", ["smooth_softmax", "qk_output"])
def test_zero_is_no_more_than_nothing(attribute: str) -> None:
    assert missed(split_gqa, gqa(attributes=f", {attribute} = 0"))[0] == 1


def test_defaults_that_are_written_out() -> None:
    """As ONNX Runtime's optimizer does with every one of them."""
    schemas = (s for s in runtime.get_all_operator_schema() if s.domain == "com.microsoft")
    schema = next(s for s in schemas if s.name == "GroupQueryAttention")
    model = gqa()
    node = next(n for n in model.graph if n.op_type == "GroupQueryAttention")
    for name, facts in schema.attributes.items():
        proto = onnx.AttributeProto.FromString(facts._default_value)
        if name not in node.attributes and proto.name:
            node.attributes[name] = ir.serde.deserialize_attribute(proto)
    assert len(node.attributes) > 8
    assert missed(split_gqa, model)[0] == 1


@pytest.mark.parametrize(
    "parts, reason",
    [
        ({"attributes": ", causal = 0"}, "attention to later tokens"),
        ({"attributes": ', k_quant_type = "PER_TENSOR"'}, "a quantised cache"),
        ({"attributes": ", sliding_window_cache = 1"}, "as long as a window, and it has none"),
        ({"attributes": ", tau = 1"}, "its attribute tau is not known"),
        ({**TURNED, "rows": "39"}, "end at 39 positions, before the context of 40"),
        ({"lengths": LENGTHS.replace("Sub(sum, unit)", "Add(sum, unit)")}, "not those of the mask"),
        ({**TURNED, "more": ", c, s, moved",
          "lengths": LENGTHS + "  moved = Add(positions, one)",
          "inputs": "float[1, S, 128] qkv, int64[1, S] positions"}, "do not count the tokens"),
    ],
)  # fmt: skip
def test_leaves_alone_and_says_why(parts: dict[str, str], reason: str) -> None:
    count, reasons = missed(split_gqa, gqa(**parts))
    assert count == 0 and reason in reasons[0]


def test_missing_caches_are_a_miss() -> None:
    model = gqa()
    model.graph[-1].replace_input_with(3, None)
    count, reasons = missed(split_gqa, model)
    assert count == 0 and "input 3 is missing" in reasons[0]


def states(model: ir.Model, chunk: int = CHUNK) -> int:
    replace(Facts.of(model), chunk=chunk).note(model)
    assert split_gqa(model).rewrites == 1
    assert fuse_attention(model).rewrites == 0
    return kv_in_place(model).rewrites


def test_caches_become_states_and_decoding_goes_on() -> None:
    expected, model = gqa(**TURNED), gqa(**TURNED)
    assert states(model) == 2
    names = [v.name for v in (*model.graph.inputs, *model.graph.outputs)]
    assert [n for n in names if "state" in (n or "")] == [
        *("state.layers.0.k", "state.layers.0.v"),
        *("state_out.layers.0.k", "state_out.layers.0.v"),
    ]
    empty = np.zeros((1, 2, 0, WIDTH), np.float32)
    cache = [empty, empty]
    kept = [np.zeros((1, 2, CONTEXT, WIDTH), np.float32)] * 2
    past = 0
    for seq in (5, 1, 1, 1):
        x = np.random.default_rng(past).standard_normal((1, seq, 128)).astype(np.float32)
        given = {"qkv": x, **feeds(past, seq)}
        y, *cache = run(expected, {**given, "past_k": cache[0], "past_v": cache[1]})
        slots = {"state.layers.0.k": kept[0], "state.layers.0.v": kept[1]}
        actual, *kept = run(model, {**given, **slots})
        np.testing.assert_allclose(actual, y, rtol=1e-4, atol=1e-4)
        past += seq


@pytest.mark.parametrize("window, chunk, slots", [(3, 8, 11), (36, 8, 40), (-1, 8, 40)])
def test_a_window_makes_a_ring(window: int, chunk: int, slots: int) -> None:
    model = gqa(attributes=f", local_window_size = {window}")
    assert states(model, chunk) == 2
    state = next(v for v in model.graph.inputs if v.name == "state.layers.0.k")
    assert state.shape == [1, 2, slots, WIDTH]


def test_a_cache_that_is_read_elsewhere_is_no_state() -> None:
    model = gqa()
    assert split_gqa(model).rewrites == 1
    past = next(v for v in model.graph.inputs if v.name == "past_k")
    spy = ir.node("Neg", [past])
    spy.outputs[0].name = "spy"
    model.graph.append(spy)
    model.graph.outputs.append(spy.outputs[0])
    count, reasons = missed(kv_in_place, model)
    assert count == 1 and "past_k is read elsewhere too" in reasons[0]


def test_one_cache_may_be_keys_and_values() -> None:
    model = gqa()
    assert split_gqa(model).rewrites == 1
    node = next(n for n in model.graph if n.op_type == "Attention")
    node.replace_input_with(2, node.inputs[1])
    assert missed(kv_in_place, model) == (2, [])
    assert [v.name for v in node.inputs[1:3] if v] == ["state_out.layers.0.k"] * 2


def test_attention_without_a_cache_has_no_state() -> None:
    model = gqa()
    assert split_gqa(model).rewrites == 1
    for node in model.graph:
        if node.op_type == "Concat":
            node.attributes["axis"] = ir.AttrInt64("axis", 1)
    outcome = kv_in_place(model)  # without shapes, which would contradict each other
    assert outcome.rewrites == 0
    assert "is not extended along the tokens" in outcome.misses[0].reason
