"""What a compile asks for reaches every pass, and a model's file cannot ask for anything."""

import inspect
from dataclasses import asdict, fields

import onnx_ir as ir
from tiny_decoder import decoder_text, tiny

import onnx_passes
from onnx_passes import Facts
from toolkit.compiler.options import Options, choose

ASKED = Facts(
    context=32,
    chunk=8,
    batch=3,
    weights="e0m4",
    group=16,
    symmetric=True,
    keep=("lm_head=f16",),
    records=True,
)


def test_facts_outlive_every_pass() -> None:
    model = tiny(opset="17")  # converting it makes a new graph
    ASKED.note(model)
    for _ in onnx_passes.rewrite(model):
        assert Facts.of(model) == ASKED
    assert [v.shape[0] for v in model.graph.inputs if v.name == "start"] == [3]


def test_what_is_not_asked_for_has_its_default() -> None:
    model = ir.from_onnx_text(decoder_text())
    assert Facts.of(model) == Facts()
    given = inspect.signature(choose).parameters
    for name in ("weights", "batch", "symmetric", "keep"):
        assert given[name].default == getattr(Facts(), name)


def test_options_hand_on_all_facts() -> None:
    own = {each.name for each in fields(Options)}
    asked = {name: value for name, value in asdict(ASKED).items() if name in own}
    options = Options(activations="f16", kv="f16", memory="50%", **asked)
    assert options.facts == ASKED


def test_metadata_of_a_file_is_no_fact() -> None:
    model = ir.from_onnx_text(decoder_text())
    model.metadata_props["pocket_facts"] = "{"
    assert Facts.of(ir.from_proto(ir.to_proto(model))) == Facts()
