"""Models that are damaged, foreign or beyond what is supported: one clear error, nothing left."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from needed import COLLECTION, here
from onnx import TensorProto, helper, numpy_helper

import toolkit
from toolkit import cli
from toolkit.errors import PocketError

DEMO = Path(__file__).parents[2] / "toolkit/demo_model"
SHARED = COLLECTION
Edit = Callable[[onnx.GraphProto], Any]


def compiles_or_explains(model: Path, caplog: pytest.LogCaptureFixture) -> str:
    """The error of a compile ("" if there is none): three facts, and nothing is left behind."""
    before = sorted(model.parent.rglob("*"))
    args = ["compile", str(model), "-o", str(model.parent / "x.plan"), "--device", "pocl"]
    result = CliRunner().invoke(cli.cli, args)
    assert caplog.text == ""
    if result.exit_code == 0:
        shutil.rmtree(model.parent / "x.plan")
        return ""
    labels = [line[:11] for line in result.stderr.splitlines() if line[:11].strip()]
    assert result.exit_code == 1 and result.stdout == "", result.output
    assert labels[0].startswith("Error: ") and "unexpected" not in result.stderr, result.stderr
    assert labels[1:] == ["  because: ", "  try:     "], result.stderr
    assert sorted(model.parent.rglob("*")) == before
    return result.stderr


@pytest.fixture
def fails(caplog: pytest.LogCaptureFixture) -> Callable[..., None]:
    """A compile of a model that must fail, with these words in its error."""

    def check(model: Path, *words: str) -> None:
        error = compiles_or_explains(model, caplog)
        assert error and all(word in error for word in words), error

    return check


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO, tmp_path / "model"))


@pytest.fixture
def edited(tmp_path: Path) -> Callable[[Edit], Path]:
    """The demo's model after an edit of its graph."""

    def save(edit: Edit) -> Path:
        model = onnx.load(DEMO / "model.onnx")
        edit(model.graph)
        known = {opset.domain for opset in model.opset_import}
        for domain in {n.domain for n in model.graph.node} - known:
            model.opset_import.append(helper.make_opsetid(domain, 1))
        onnx.save(model, tmp_path / "model.onnx")
        return tmp_path / "model.onnx"

    return save


# --- the file ------------------------------------------------------------------------------------


def structure(model: onnx.ModelProto, content: bytes) -> list[int]:
    """Places in the file that are not the numbers of a large tensor."""
    places = set(range(len(content)))
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) > 256:
            start = content.index(tensor.raw_data)
            places -= set(range(start, start + len(tensor.raw_data)))
    return sorted(places)


@pytest.fixture(scope="session")
def places() -> list[int]:
    return structure(onnx.load(DEMO / "model.onnx"), (DEMO / "model.onnx").read_bytes())


def damage(content: bytes, places: list[int], dice: random.Random) -> bytes:
    data, at, length = bytearray(content), dice.choice(places), dice.randint(1, 40)
    kind = dice.randrange(4)
    if kind == 0:
        del data[dice.randrange(len(data)) :]
    elif kind == 1:
        del data[at : at + length]
    elif kind == 2:
        data[at:at] = data[dice.choice(places) :][:length]
    else:
        for place in (at, *dice.choices(places, k=dice.choice([0, 0, 4]))):
            data[place] ^= 1 << dice.randrange(8)
    return bytes(data)


@pytest.mark.parametrize("seed", range(6))
def test_random_damage(
    tmp_path: Path, places: list[int], caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    content, dice = (DEMO / "model.onnx").read_bytes(), random.Random(seed)
    for _ in range(3):
        (tmp_path / "model.onnx").write_bytes(damage(content, places, dice))
        compiles_or_explains(tmp_path / "model.onnx", caplog)


@pytest.mark.parametrize("size", [0, 1, 100, 10_000, 5_000_000])
def test_a_truncated_file(folder: Path, fails: Any, size: int) -> None:
    file = folder / "model.onnx"
    file.write_bytes(file.read_bytes()[:size])
    fails(file, f"{file} is not a usable ONNX model", "export or download it again")


def external(folder: Path) -> tuple[Path, Path]:
    """The demo's model with its weights in a second file."""
    model, target = onnx.load(folder / "model.onnx"), folder / "split" / "model.onnx"
    target.parent.mkdir()
    onnx.save(model, target, save_as_external_data=True, location="model.data", size_threshold=0)
    return target, target.parent / "model.data"


def test_missing_or_short_external_data(folder: Path, fails: Any) -> None:
    model, data = external(folder)
    data.write_bytes(data.read_bytes()[:-1])
    fails(model, f"{data} is damaged", "ends at byte")
    data.unlink()
    fails(model, "the weights of", "is in model.data, which is not there", "copy it beside")


@pytest.mark.parametrize(("key", "value"), [("offset", "abc"), ("offset", "-5"), ("length", "1e3")])
def test_external_data_at_no_number(folder: Path, fails: Any, key: str, value: str) -> None:
    path, _ = external(folder)
    model = onnx.load(path, load_external_data=False)
    entries = [e for e in model.graph.initializer[2].external_data if e.key == key]
    for entry in entries:
        entry.value = value
    onnx.save(model, path)
    assert entries
    fails(path, f"the {key} of tensor {model.graph.initializer[2].name} is '{value}'")


@pytest.mark.parametrize("location", ["../model.data", "/etc/passwd", "sub/../../model.data"])
def test_external_data_outside_its_folder(folder: Path, fails: Any, location: str) -> None:
    path, data = external(folder)
    shutil.move(data, folder / "model.data")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in (e for e in tensor.external_data if e.key == "location"):
            entry.value = location
    path.write_bytes(model.SerializeToString())
    fails(path, "not a usable ONNX model", location)


# --- the graph -----------------------------------------------------------------------------------


def node(graph: onnx.GraphProto, op_type: str) -> onnx.NodeProto:
    return next(n for n in graph.node if n.op_type == op_type)


def rename(op_type: str, new: str, domain: str = "") -> Edit:
    def edit(graph: onnx.GraphProto) -> None:
        found = node(graph, op_type)
        found.op_type, found.domain = new, domain

    return edit


def unmade(graph: onnx.GraphProto) -> None:
    node(graph, "Softmax").input[0] = "nothing"


def shapeless(graph: onnx.GraphProto) -> None:
    weight = next(t for t in graph.initializer if len(t.dims) == 2)
    weight.dims[0] += 1


def other_width(graph: onnx.GraphProto) -> None:
    weight = next(t for t in graph.initializer if t.name == graph.node[-1].input[1])
    weight.dims[:] = [weight.dims[0] // 2, weight.dims[1] * 2]


def insert(graph: onnx.GraphProto, *nodes: onnx.NodeProto) -> None:
    """Put nodes that turn "before" into "after" in front of the last matmul."""
    last = [n for n in graph.node if n.op_type == "MatMul"][-1]
    at = list(graph.node).index(last)
    before, last.input[0] = last.input[0], "after"
    for new in reversed(nodes):
        new.input[:] = [before if name == "before" else name for name in new.input]
        graph.node.insert(at, new)


def depends_on_data(graph: onnx.GraphProto) -> None:
    graph.initializer.append(helper.make_tensor("flat", onnx.TensorProto.INT64, [1], [-1]))
    insert(
        graph,
        helper.make_node("Reshape", ["input_ids", "flat"], ["target"]),
        helper.make_node("Reshape", ["before", "target"], ["after"]),
    )


def two_strangers(graph: onnx.GraphProto) -> None:
    made = [helper.make_node(*args) for args in (("Erf", ["before"], ["e"]),)]
    insert(graph, *made, helper.make_node("RandomNormalLike", ["e"], ["after"]))


def without_logits(graph: onnx.GraphProto) -> None:
    del graph.output[0]


def no_language_model(graph: onnx.GraphProto) -> None:
    for field in ("node", "input", "output", "initializer"):
        graph.ClearField(field)
    kind, shape = onnx.TensorProto.FLOAT, ["n", 8]
    graph.input.append(helper.make_tensor_value_info("x", kind, shape))
    graph.output.append(helper.make_tensor_value_info("y", kind, shape))
    graph.node.append(helper.make_node("Relu", ["x"], ["y"], "relu"))


@pytest.mark.parametrize(
    "edit, words",
    [
        (unmade, ["reads nothing, which no node computes"]),
        (shapeless, ["not a usable ONNX model"]),
        (other_width, ["not a usable ONNX model"]),
        (rename("Softmax", "Softmacs"), ["no kernel for Softmacs"]),
        (rename("Softmax", "Range"), ["Range"]),
        (rename("Sigmoid", "Frob", "com.acme"), ["no kernel for Frob", "--unsupported"]),
        (rename("Gather", "GatherBlockQuantized", "com.microsoft"), ["quantised"]),
        (two_strangers, ["no kernel for RandomNormalLike", "--unsupported"]),
        (depends_on_data, ["cannot be resolved", "depends on the data"]),
        (without_logits, ["logits"]),
        (no_language_model, ["token ids"]),
    ],
)
def test_a_graph_that_is_refused(edited: Any, fails: Any, edit: Edit, words: list[str]) -> None:
    fails(edited(edit), *words)


# --- the folder ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "genai_config.json"])
@pytest.mark.parametrize(
    "facts",
    [
        "{",
        {"eos_token_id": "two"},
        {"eos_token_id": [1, "x"]},
        {"eos_token_id": 5.5},
        {"bos_token_id": True},
        {"max_position_embeddings": -4},
        {"max_position_embeddings": 10**20},
        {"context_length": "9"},
    ],
)
def test_damaged_settings_are_named(folder: Path, fails: Any, name: str, facts: Any) -> None:
    inner = {"model": facts} if name == "genai_config.json" else facts
    (folder / name).write_text(facts if isinstance(facts, str) else json.dumps(inner))
    fails(folder, str(folder / name), *([] if isinstance(facts, str) else facts))


@pytest.mark.parametrize("facts", [{"model": 5}, {"model": {"decoder": {"filename": 7}}}, [], 3])
def test_settings_of_another_form_say_nothing(folder: Path, facts: Any) -> None:
    from toolkit.compiler.source import load_source

    (folder / "genai_config.json").write_text(json.dumps(facts))
    assert load_source(folder).generation["eos"] == [1]


def test_folder_with_no_or_many_models(folder: Path, fails: Any) -> None:
    (folder / "model.onnx").rename(folder / "a.onnx")
    shutil.copy(folder / "a.onnx", folder / "b.onnx")
    fails(folder, "does not say which model", "a.onnx, b.onnx", "name one")
    (folder / "a.onnx").unlink()
    (folder / "b.onnx").unlink()
    fails(folder, "without its weights", "nor an .onnx file", "hf download")


# --- weights -------------------------------------------------------------------------------------


def largest(graph: onnx.GraphProto) -> onnx.TensorProto:
    return max(graph.initializer, key=lambda t: len(t.raw_data))


def test_weights_that_are_no_numbers_have_no_codes(edited: Any, tmp_path: Path) -> None:
    def spoil(graph: onnx.GraphProto) -> None:
        weight = largest(graph)
        values = numpy_helper.to_array(weight).copy()
        values[-1, 3] = np.nan
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))

    model, before = edited(spoil), sorted(tmp_path.rglob("*"))
    with pytest.raises(PocketError, match="cannot be stored in 4 bits") as error:
        toolkit.compile(model, tmp_path / "x.plan", device="pocl", weights="e0m4")
    assert "NaN" in error.value.because and "export it again" in error.value.hint
    assert sorted(tmp_path.rglob("*")) == before


def test_a_type_that_does_not_fit_its_bytes(fails: Any, tmp_path: Path) -> None:
    """ONNX's checker looks at the bytes of no scale; they are read when weights are packed."""
    source = here(SHARED / "real/stories260K-hd16-onnx-genai-int4-cpu")
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    model = onnx.load(tmp_path / "model.onnx")
    name = "model.layers.0.attn.qkv_proj.MatMul.weight_scales"
    next(t for t in model.graph.initializer if t.name == name).data_type = TensorProto.BFLOAT16
    onnx.save(model, tmp_path / "model.onnx")
    fails(tmp_path, "weights of", "cannot be read")


def test_an_export_without_the_settings_that_told_its_context(tmp_path: Path, fails: Any) -> None:
    model = Path(shutil.copytree(here(SHARED / "random/llama/genai-fp32"), tmp_path / "model"))
    (model / "genai_config.json").unlink()
    fails(model, "GroupQueryAttention", "rotary tables end at 256", "--max-context 256")


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e6])
@pytest.mark.parametrize("kind", ["gamma", "matrix"])
def test_weights_that_are_no_numbers_of_their_type(
    edited: Any, tmp_path: Path, kind: str, bad: float
) -> None:
    def spoil(graph: onnx.GraphProto) -> None:
        norms = [t for t in graph.initializer if "layernorm" in t.name]
        weight = norms[0] if kind == "gamma" else largest(graph)
        values = numpy_helper.to_array(weight).copy()
        values.flat[-1] = bad
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))

    model, before = edited(spoil), sorted(tmp_path.rglob("*"))
    if bad == 1e6 and kind == "gamma":  # kept in float32, where it is a number
        toolkit.compile(model, tmp_path / "x.plan", device="pocl", weights="f16")
        return
    with pytest.raises(PocketError, match=r"weight .* can't be stored") as error:
        toolkit.compile(model, tmp_path / "x.plan", device="pocl", weights="f16")
    assert "NaN, infinite or too large for" in error.value.because
    assert sorted(tmp_path.rglob("*")) == before
