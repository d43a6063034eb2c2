"""Files that ONNX Runtime reads although ONNX's checker complains, or that are links: so do we."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from toolkit import onnx_runtime
from toolkit.compiler.calibration.reference import Reference
from toolkit.compiler.options import choose
from toolkit.compiler.rewriting.passes import rewrite_with
from toolkit.compiler.source import load_source
from toolkit.errors import PocketError

DEMO = Path(__file__).parents[2] / "toolkit/demo_model"
IDS = [5, 17, 300, 45, 6]
Edit = Callable[[onnx.ModelProto], object]


def reversed_nodes(model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def other_name_of_onnx(model: onnx.ModelProto) -> None:
    model.opset_import[0].domain = "ai.onnx"
    for node in model.graph.node:
        node.domain = "ai.onnx"


def two_names_of_onnx(model: onnx.ModelProto) -> None:
    model.opset_import.insert(0, helper.make_opsetid("ai.onnx", 11))  # the last one counts


def every_domain(model: onnx.ModelProto) -> None:
    """As ONNX Runtime's optimizer leaves them."""
    for domain in ("ai.onnx.ml", "ai.onnx.training", "com.microsoft.nchwc", "org.pytorch.aten"):
        model.opset_import.append(helper.make_opsetid(domain, 1))


def unread_inputs(model: onnx.ModelProto) -> None:
    for name, kind in (("token_type_ids", 7), ("use_cache", 9), ("note", 8), ("scale", 10)):
        model.graph.input.append(helper.make_tensor_value_info(name, kind, ["n"]))


def nameless_nodes(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.name = ""


def our_metadata(model: onnx.ModelProto) -> None:
    model.metadata_props.add(key="pocket.roles", value="{")


@pytest.fixture
def edited(tmp_path: Path) -> Callable[[Edit], Path]:
    """The demo's model after an edit."""

    def save(edit: Edit) -> Path:
        model = onnx.load(DEMO / "model.onnx")
        edit(model)
        (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
        return tmp_path / "model.onnx"

    return save


@pytest.fixture(scope="session")
def expected() -> np.ndarray:
    return Reference.original(load_source(DEMO)).score(IDS)


EDITS = (
    *(reversed_nodes, other_name_of_onnx, two_names_of_onnx, every_domain, unread_inputs),
    *(nameless_nodes, our_metadata),
)


@pytest.mark.parametrize("edit", EDITS)
def test_is_read_and_compared(
    edited: Callable[[Edit], Path], expected: np.ndarray, edit: Edit
) -> None:
    source = load_source(edited(edit))
    rewritten = rewrite_with(source, choose(source, {"class": "cpu"}))
    for reference in (Reference.original(source), Reference.of(rewritten)):
        np.testing.assert_allclose(reference.score(IDS), expected, rtol=1e-4, atol=1e-4)
    assert set(rewritten.opset_imports) <= {"", "pocket"}


# --- links ---------------------------------------------------------------------------------------


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """The demo with its weights in a second file, and its tokenizer."""
    folder = tmp_path / "blobs"
    shutil.copytree(DEMO, folder)
    model = onnx.load(folder / "model.onnx")
    names = {"location": "model.data", "size_threshold": 0}
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, **names)
    return folder


def read(folder: Path) -> np.ndarray:
    source = load_source(folder)
    assert "tokenizer.json" in source.files and source.folder == folder
    return Reference.of(rewrite_with(source, choose(source, {"class": "cpu"}))).score(IDS)


def test_a_cache_of_links(split: Path, tmp_path: Path, expected: np.ndarray) -> None:
    """As huggingface_hub keeps models: every file of a snapshot is a link to a nameless one."""
    snapshot = tmp_path / "snapshots/main"
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(split.iterdir())):
        blob = file.rename(split / f"blob{number}")
        (snapshot / file.name).symlink_to(blob)
    np.testing.assert_allclose(read(snapshot), expected, rtol=1e-4, atol=1e-4)


def test_files_of_two_names(split: Path, tmp_path: Path, expected: np.ndarray) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for file in split.iterdir():
        os.link(file, other / file.name)
    np.testing.assert_allclose(read(other), expected, rtol=1e-4, atol=1e-4)


def test_a_link_to_weights_elsewhere_is_not_followed(split: Path, tmp_path: Path) -> None:
    (split / "model.data").rename(tmp_path / "secret")
    (split / "model.data").symlink_to(tmp_path / "secret")
    with pytest.raises(PocketError, match=r"not a usable ONNX model.*outside its folder"):
        load_source(split)


# --- what is refused -----------------------------------------------------------------------------


def sparse(model: onnx.ModelProto) -> None:
    graph = model.graph
    dense = next(t for t in graph.initializer if len(t.dims) == 1 and t.data_type == 1)
    values = numpy_helper.to_array(dense)
    indices = numpy_helper.from_array(np.arange(values.size, dtype=np.int64), "places")
    tensor = onnx.SparseTensorProto(values=dense, indices=indices, dims=dense.dims)
    graph.initializer.remove(dense)
    graph.sparse_initializer.append(tensor)


def weight_as_output(model: onnx.ModelProto) -> None:
    name = model.graph.initializer[0].name
    model.graph.output.append(helper.make_tensor_value_info(name, 1, None))


@pytest.mark.parametrize(
    "edit, words",
    [
        (sparse, ("contains something that PocketCL can't read", "is sparse")),
        (weight_as_output, ("no role for the output",)),
    ],
)
def test_what_runs_is_never_called_damaged(
    edited: Callable[[Edit], Path], edit: Edit, words: tuple[str, ...]
) -> None:
    path = edited(edit)
    onnx_runtime.open_session(path)
    with pytest.raises(PocketError) as caught:
        source = load_source(path)
        rewrite_with(source, choose(source, {"class": "cpu"}))
    error = caught.value
    assert all(word in f"{error.what}: {error.because}" for word in words)
    assert "not a usable" not in error.what and "download" not in error.hint


def cycle(model: onnx.ModelProto) -> None:
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    products[0].input[0] = products[-1].output[0]


def test_a_cycle_is_called_so(edited: Callable[[Edit], Path]) -> None:
    source = load_source(edited(cycle))
    with pytest.raises(PocketError, match="has a cycle: a value is computed from itself"):
        rewrite_with(source, choose(source, {"class": "cpu"}))


def test_what_neither_reads_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    assert onnx_runtime.finds_damage(tmp_path / "model.onnx")
    assert not onnx_runtime.finds_damage(DEMO / "model.onnx")
