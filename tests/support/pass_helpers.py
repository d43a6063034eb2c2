"""Models that these tests run on, and ONNX Runtime before and after a pass."""

import contextlib
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from needed import COLLECTION

import onnx_passes
from onnx_passes import Facts, Pass, defined
from onnx_passes.analysis.roles import Roles, note_roles
from onnx_passes.count_inputs import count_inputs
from onnx_passes.ir.edit import drop_unused
from onnx_passes.ir.graph import COUNTERS
from onnx_passes.ir.infer import infer
from toolkit.compiler.source import load_source

Feeds = dict[str, np.ndarray]

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "toolkit" / "demo_model" / "model.onnx"
SHARED = COLLECTION
CONTEXT, CHUNK = 256, 64

ROUTES = ("optimum", "dynamo", "dynamo23")
# Folders that hold the same decoder, as different exporters wrote it.
FAMILIES = {
    "stories260K": (
        "real/stories260K-onnx-optimum",
        "real/stories260K-onnx-dynamo-op20",
        "real/stories260K-onnx-dynamo-op23",
        "real/stories260K-onnx-dynamo-op24",
        "real/stories260K-hd16-onnx-genai-fp32-cpu",
        "real/stories260K-hd16-onnx-genai-fp32-cpu-unfused",
        "real/stories260K-hd16-onnx-genai-fp16-webgpu",
    ),
    "trained": ("real/trained-llama_silu-onnx-optimum", "real/trained-llama_relu-onnx-optimum"),
    "llama": tuple(f"random/llama/{route}" for route in (*ROUTES, "genai-fp32")),
    "qwen2": tuple(f"random/qwen2/{route}" for route in (*ROUTES, "genai-fp32")),
    "mistral": (
        *(f"random/mistral/{route}" for route in ROUTES),
        "random/mistral/genai-fp32-nowin",
    ),
}


def read(path: Path, **facts: int) -> ir.Model:
    """A fresh graph with what the compiler notes before the first pass."""
    return noted(load_source(path).model, **facts)


def before_last(path: Path) -> ir.Model:
    """A copy of the model as it comes to the last pass: for tests of what that one does."""
    model = _before_last(path)
    copy = model.clone()
    copy.meta.update(model.meta)
    return copy


@functools.cache
def _before_last(path: Path) -> ir.Model:
    model = ir.external_data.load_to_model(read(path))
    done = (name for name, _ in onnx_passes.rewrite(model))
    next(name for name in done if name == onnx_passes.PASSES[-2].__name__)
    return model


def noted(model: ir.Model, context: int = CONTEXT, chunk: int = CHUNK, batch: int = 1) -> ir.Model:
    """The model, with context, chunk and batch noted."""
    Facts(context, chunk, batch).note(model)
    return model


def run(model: ir.Model, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What ONNX Runtime says; feeds of inputs that the model has lost are left out."""
    with defined(model):
        model.ir_version = max(10, model.ir_version or 10)  # overloads of functions
        proto = ir.to_proto(model)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    names = {value.name for value in session.get_inputs()}
    return list(session.run(None, {name: feeds[name] for name in names}))


def random_feeds(model: ir.Model, sizes: Mapping[str, int], seed: int = 0) -> Feeds:
    """Standard normal floats, zero integers, for every input at the given sizes."""
    random = np.random.default_rng(seed)
    feeds = {}
    for value in model.graph.inputs:
        shape = [
            d if isinstance(d, int) else int(str(d.evaluate(sizes))) for d in value.shape or ()
        ]
        assert value.dtype is not None and value.name
        floats = value.dtype.is_floating_point()
        array = random.standard_normal(shape) if floats else np.zeros(shape)
        feeds[value.name] = array.astype(value.dtype.numpy())
    return feeds


@contextlib.contextmanager
def same_outputs(
    model: ir.Model, feeds: Feeds | None = None, tolerance: float = 1e-5, **sizes: int
) -> Iterator[None]:
    """Run ONNX Runtime before and after what happens to the model inside, and compare."""
    infer(model)
    given = random_feeds(model, sizes) | (feeds or {})
    before = run(model, given)
    yield
    drop_unused(model)
    infer(model)
    added = random_feeds(model, sizes)  # counters among them are 0
    for expected, actual in zip(before, run(model, added | given), strict=True):
        assert actual.dtype == expected.dtype
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def op_types(model: ir.Model) -> list[str]:
    """The op types of what anything reads, in order."""
    drop_unused(model)
    return [node.op_type for node in model.graph]


def text(source: str, seed: int = 1) -> ir.Model:
    """A model from ONNX text; initializers declared without values get random ones."""
    model = onnx.parser.parse_model(source)
    names = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name for value in model.graph.input}
    random = np.random.default_rng(seed)
    made = {name for node in model.graph.node for name in node.output}
    for value in list(model.graph.value_info):
        if value.name in names | inputs | made:
            continue
        kind = value.type.tensor_type
        shape = [dim.dim_value for dim in kind.shape.dim]
        array = random.standard_normal(shape).astype(
            onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        )
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
    return ir.from_proto(model)


def missed(run_pass: Pass, model: ir.Model) -> tuple[int, list[str]]:
    """How often a pass fired, and the reasons of its misses."""
    infer(model)
    outcome = run_pass(model)
    return outcome.rewrites, [str(miss) for miss in outcome.misses]


def decoder(source: str, context: int = CONTEXT, chunk: int = CHUNK, **symbols: str) -> ir.Model:
    """A piece of a decoder as it is after the intake: symbols, counters, roles."""
    for name, symbol in symbols.items():
        source = re.sub(rf"(?<=[\[ ]){name}(?=[\],])", symbol, source)
    model = noted(text(source), context, chunk)
    inputs = [value.name for value in model.graph.inputs if value.uses()]
    roles = Roles(
        tokens="tokens",
        logits=model.graph.outputs[0].name or "",
        mask="mask" if "mask" in inputs else None,
        positions="positions" if "positions" in inputs else None,
        cache=tuple(
            (name, name.replace("past_", "present_"))
            for name in inputs
            if name is not None and name.startswith("past_")
        ),
    )
    note_roles(model, roles)
    for name in COUNTERS:
        model.graph.inputs.append(ir.val(name, dtype=ir.DataType.INT64, shape=[1]))
    if "tokens" not in inputs and {"mask", "positions"} & {*inputs}:  # these are as long as tokens
        model.graph.inputs.append(ir.val("tokens", dtype=ir.DataType.INT64, shape=[1, "seq"]))
    for value in model.graph.inputs:
        dims = [
            d if isinstance(d, int) else str(d).replace("total", "past + seq")
            for d in value.shape or ()
        ]
        value.shape = ir.Shape(dims)
    count_inputs(model)
    infer(model)
    return model
