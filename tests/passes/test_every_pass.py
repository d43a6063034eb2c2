"""ONNX Runtime runs the model after every pass, and it says the same as before."""

import hashlib
from collections import Counter
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
import pytest
from needed import here
from pass_helpers import DEMO, FAMILIES, SHARED, read, run

import onnx_passes
from onnx_passes import Outcome
from onnx_passes.analysis.roles import roles_of
from onnx_passes.ir.dims import unresolved_dims
from onnx_passes.ir.graph import COUNTERS
from toolkit.compiler.calibration.reference import Reference
from toolkit.compiler.source import load_source

NAMES = [run.__name__ for run in onnx_passes.PASSES]
SHAPE_OPS = {"Shape", "Size", "ConstantOfShape", "Range", "Expand", "NonZero"}
PROMPTS = ((1, 3), (7, 2), (65, 2))  # tokens of the prefill, then of single steps
SHORT = ((17, 2),)  # longer than the windows of the models
QUICK = ("cohere2/dynamo", "gpt_oss/optimum", "ministral3/mobius-static", "mpt/optimum")
CHECKED = ("resolve_shapes", "fuse_attention", NAMES[-1])
DECODERS = (  # of other architectures, one for each that passes treat in its own way
    *("apertus/dynamo", "cohere2/dynamo", "gpt_bigcode/optimum", "gpt_oss/optimum"),
    *("helium/optimum", "hunyuan/genai-int4", "ministral3/mobius-cpu", "mpt/optimum"),
    "ministral3/mobius-static",
    *("olmoe/mobius-default", "persimmon/dynamo", "qwen2_5_vl/genai-fp32", "vaultgemma/dynamo"),
)
EXPORTS = [(family, folder) for family, folders in FAMILIES.items() for folder in folders]


def logits(reference: Reference, prompts: tuple[tuple[int, int], ...]) -> np.ndarray:
    """The logits of every position of every prompt, each from an empty cache."""
    rows: list[np.ndarray] = []
    for length, steps in prompts:
        reference.reset()
        ids = np.random.default_rng(length).integers(3, 500, length + steps).tolist()
        rows.append(reference.score(ids[:length]))
        rows += [reference.score([token]) for token in ids[length:]]
    return np.concatenate(rows)


def nmse(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.mean((actual - expected) ** 2) / np.mean(expected**2))


def shape_only(model: ir.Model) -> list[str]:
    """Nodes that compute integers alone; what looks tokens up is not among them."""
    return [n.op_type for n in model.graph if n.op_type in SHAPE_OPS or _integer(n.outputs[0])]


def _integer(value: ir.Value) -> bool:
    return value.dtype is not None and value.dtype.is_integer()


@pytest.fixture(scope="module")
def demo_logits() -> np.ndarray:
    return logits(Reference.original(load_source(DEMO)), PROMPTS)


@pytest.fixture(scope="module")
def demo_passes() -> Iterator[tuple[ir.Model, Iterator[tuple[str, Outcome]]]]:
    model = read(DEMO)
    yield model, onnx_passes.rewrite(model)


@pytest.fixture(scope="module")
def demo_taken_in() -> ir.Model:
    """With roles and symbols, which the first passes do without."""
    model = read(DEMO)
    onnx_passes.intake(model)
    return model


@pytest.fixture(scope="module")
def checked() -> set[bytes]:
    """Forms of the demo model that say the same, by their hashes: most passes change nothing."""
    return set()


@pytest.mark.parametrize("name", NAMES)
def test_the_demo_model_says_the_same_after(
    name: str,
    demo_passes: tuple[ir.Model, Iterator[tuple[str, Outcome]]],
    demo_taken_in: ir.Model,
    demo_logits: np.ndarray,
    checked: set[bytes],
) -> None:
    model, passes = demo_passes  # tests run in order: each continues where the one before stopped
    done, _ = next(passes)
    assert done == name
    form = hashlib.sha256(ir.to_proto(model).SerializeToString(deterministic=True)).digest()
    if form not in checked:
        assert nmse(logits(Reference.of(model, demo_taken_in), PROMPTS), demo_logits) < 1e-10
        checked.add(form)


def test_nothing_of_shapes_is_left_in_the_demo_model() -> None:
    model = read(DEMO)
    counts = {name: outcome.rewrites for name, outcome in onnx_passes.rewrite(model)}
    assert unresolved_dims(model) == []
    assert shape_only(model) == []
    assert counts["fuse_attention"] == 5 and counts["fuse_rmsnorm"] == 11
    kinds = Counter(node.op_type for node in model.graph)
    assert sum(kinds.values()) == 55 and kinds["MatMul"] == 21


@pytest.mark.parametrize("family, folder", EXPORTS, ids=[folder for _, folder in EXPORTS])
def test_exports_say_the_same_and_reach_one_form(family: str, folder: str) -> None:
    path = here(SHARED / folder / "model.onnx")
    model = read(path)
    before = logits(Reference.original(load_source(path)), SHORT)
    half = any(v.dtype == ir.DataType.FLOAT16 for v in model.graph.inputs)
    for name, _ in onnx_passes.rewrite(model):
        if name in CHECKED:
            after = logits(Reference.of(model), SHORT)
            assert nmse(after, before) < (1e-4 if half else 1e-8), f"after {name}"
    assert unresolved_dims(model) == [] and shape_only(model) == []
    expected = FORMS.setdefault(family, Counter(node.op_type for node in model.graph))
    assert Counter(node.op_type for node in model.graph) == expected


@pytest.mark.parametrize(
    "folder", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in DECODERS]
)
def test_any_decoder_says_the_same_and_keeps_its_cache(folder: str) -> None:
    """With every cache a state, and nothing that reads a size; whatever was fused."""
    path = here(SHARED / "more" / "decoders" / folder)
    source, model = load_source(path), read(path)
    before = logits(Reference.original(source), SHORT)
    for name, _ in onnx_passes.rewrite(model):
        if name in ("count_sizes", NAMES[-1]):
            after = logits(Reference.of(model), SHORT)
            assert nmse(after, before) < (2e-3 if "int4" in folder else 1e-5), f"after {name}"
    states = {v.name for v in model.graph.inputs if (v.name or "").startswith("state.")}
    tokens = roles_of(model).tokens
    assert {v.name for v in model.graph.inputs} == {tokens, *states, *COUNTERS}
    assert len(states) == len(roles_of(model).cache)
    assert unresolved_dims(model) == []
    left = {n.op_type for n in model.graph if n.domain == ""}
    assert not left & {"Shape", "Size", "Range", "ConstantOfShape", "CumSum", "Sin", "Cos"}


@pytest.mark.parametrize("folder", ("mpt/optimum", "deepseek_v3/optimum"))
def test_padding_on_the_left(folder: str) -> None:
    """As the exporter's framework computed it: two texts, the first ones of the shorter padded."""
    path = here(SHARED / "more" / "decoders" / folder)
    given, model = np.load(path / "ref_io_b2pad.npz"), read(path, batch=2)
    for _ in onnx_passes.rewrite(model):
        pass
    states = {
        v.name: np.zeros([d if isinstance(d, int) else 0 for d in v.shape or ()], np.float32)
        for v in model.graph.inputs
        if (v.name or "").startswith("state.")
    }
    start, past = (given["step0.in.attention_mask"] == 0).sum(axis=1), 0
    for step in range(3):
        ids = given[f"step{step}.in.input_ids"]
        counters = {"past": np.array([past]), "start": start, "rows": np.array([ids.shape[1]])}
        found, *kept = run(model, {"input_ids": ids, **counters, **states})
        states = dict(zip([_input_of(v) for v in model.graph.outputs[1:]], kept, strict=True))
        real = np.arange(past, past + ids.shape[1]) >= start[:, None]
        assert nmse(found[real], given[f"step{step}.out.logits"][real]) < 1e-8
        past += ids.shape[1]


def _input_of(state: ir.Value) -> str:
    return (state.name or "").replace("state_out.", "state.")


FORMS: dict[str, Counter[str]] = {}
