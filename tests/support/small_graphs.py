"""Small ONNX graphs: lowered, run by the Python executor, compared with ONNX Runtime.

    graphs = SmallGraphs({"turned": "(float[seq, 7] x) => (float y) { y = Transpose(x) }"})
    graphs.check("turned", [{"seq": 65}])

Dimensions may be numbers, `seq`, `past`, `rows`, `total` (past + seq) and multiples (`seqx3`);
inputs of the names `past`, `rows`, `start` and `text_length` are the counters of language models.
All graphs are phases of one plan, and their kernels one program.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pass_helpers
import sympy
from one_program import as_one

from onnx_passes import Facts, Pass
from onnx_passes.ir.dims import as_expr, unresolved_dims
from onnx_passes.ir.edit import drop_unused
from onnx_passes.ir.graph import COUNTED
from onnx_passes.ir.infer import infer
from opencl_kernels.case import symbols_of_texts
from opencl_kernels.device_class import CLASSES
from opencl_kernels.formats import DTYPES, Array, dtype_bytes
from toolkit.compiler.kinds.assemble import lower_phase
from toolkit.compiler.kinds.kind import Frame, PhaseKind
from toolkit.compiler.lowering.builder import Location
from toolkit.compiler.lowering.table import computes, unsupported
from toolkit.compiler.lowering.values import TYPES
from toolkit.compiler.lowering.variants import Programs, Settings
from toolkit.compiler.weights.table import WeightTable
from toolkit.errors import PocketError
from toolkit.plan.expr import maximum
from toolkit.plan.schema import Buffer, Phase, Plan, SymbolDecl
from toolkit.plan.write import write_plan

Sizes = Mapping[str, int]
Feeds = pass_helpers.Feeds
BATCH = 2  # texts that a plan has counters for
BOX = {"seq": (1, 70), "past": (0, 130), "rows": (1, 70)}
BOUNDS = BOX | {"start": (0, 130), "text_length": (0, 130)}
SYMBOLS = tuple(
    SymbolDecl(s.name, "input", *BOUNDS[s.name], s.slot, s.length)
    for s in symbols_of_texts(BATCH, True)
)
HEAD = '<ir_version: 10, opset_import: ["": %d, "pocket": 1, "com.microsoft": 1]> graph '


def graph(source: str, opset: int = 18) -> ir.Model:
    """A model from ONNX text without its head; weights that are only declared get random values."""
    model = pass_helpers.text(HEAD % opset + source)
    for value in model.graph.inputs:
        dims = [d if isinstance(d, int) else _written(str(d)) for d in value.shape or ()]
        value.shape = ir.Shape(dims)
    infer(model)
    return model


def _written(name: str) -> str:
    """What the name of a dimension stands for."""
    stem, _, factor = name.replace("total", "past + seq").partition("x")
    return f"({stem})*{factor}" if factor else stem


class Refused(Exception):
    """Nodes of a graph have no kernel."""


class SmallGraphs:
    """Graphs as phases of one plan, each lowered for itself: what fails is raised when it is run.

    chosen  fields of Settings that differ from those of a small device of class cpu in float32
    """

    def __init__(
        self,
        sources: Mapping[str, str | Callable[[], ir.Model]],
        passes: Sequence[Pass] = (),
        opset: int = 18,
        **chosen: Any,
    ) -> None:
        """Read and lower every graph after some passes; nothing is compiled or run yet."""
        self.models = dict[str, ir.Model]()
        self.settings = Settings(**{**_usual(), **chosen})
        self.table = WeightTable(None, self.settings.device_class.layouts)
        self.programs, self.buffers = Programs(), list[Buffer]()
        self.phases, self.faults = list[Phase](), dict[str, Exception]()
        for name, source in sources.items():
            try:
                make = partial(graph, source, opset) if isinstance(source, str) else source
                self.models[name], model = make(), make()
                Facts(computes=computes).note(model)
                for run in passes:
                    run(model)
                    drop_unused(model)
                    infer(model)
                self.phases.append(self._lowered(name, model))
            except Exception as error:  # raised again for whoever runs this graph
                self.faults[name] = error

    def _lowered(self, name: str, model: ir.Model) -> Phase:
        refused = [(n.op_type, why) for n in model.graph if (why := unsupported(n, ""))]
        if refused:
            raise Refused(refused)
        if names := unresolved_dims(model):
            raise Refused(f"dimensions of {', '.join(names)} depend on the data")
        fed = [value for value in model.graph.inputs if value.name not in COUNTED]
        inputs = {value: self._place(name, value, "input") for value in fed}
        results = {value: self._place(name, value, "output") for value in model.graph.outputs}
        phase = PhaseKind(name, name, {}, {}, lambda _: None)
        frame = Frame(SYMBOLS, tuple(self.buffers), (), inputs, results, (phase,), {})
        align = 128
        return lower_phase(phase, frame, model, self.settings, self.table, self.programs, align)

    def _place(self, name: str, value: ir.Value, kind: str) -> Location:
        assert value.dtype is not None and value.shape is not None, f"{value.name} has no shape"
        dtype = TYPES[value.dtype] or self.settings.activations
        shape = tuple(as_expr(d) for d in value.shape)
        size = maximum(sympy.prod(shape), BOX) * dtype_bytes(dtype)
        self.buffers.append(Buffer(f"{name}/{value.name}", kind, dtype, shape, max(size, 1)))
        return Location(("buffer", len(self.buffers) - 1), dtype)

    @cached_property
    def executor(self) -> Any:
        """All graphs on the device."""
        from toolkit.executors.opencl.phases import PhaseExecutor

        profile = {"name": "small", "class": self.settings.device_class.name, "align": 128}
        programs, phases = tuple(self.programs.index), tuple(self.phases)
        plan = Plan("", {}, profile, SYMBOLS, tuple(self.buffers), (), (), (), programs, phases)
        plan, kernels = as_one(plan)
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name, "plan")
        plan = write_plan(path, plan, self.table.sources, kernels, {})
        executor = PhaseExecutor(path, plan, ())
        try:
            executor.load(plan.phases[0].name)  # builds the program of all
        except PocketError as error:
            self.faults[""] = error
            raise
        return executor

    def run(self, name: str, sizes: Sizes, feeds: Feeds) -> list[Array]:
        """The outputs of a graph."""
        for fault in (self.faults.get(name), self.faults.get("")):
            if fault is not None:
                raise fault
        starts = [int(s) for s in feeds.get("start", ())]
        self.executor.bind({**sizes, "start": [*starts, *[0] * (BATCH - len(starts))]})
        own = [buffer for buffer in self.buffers if buffer.name.startswith(f"{name}/")]
        for buffer in own:
            fed = feeds.get(buffer.name.removeprefix(f"{name}/"))
            if buffer.kind == "input" and fed is not None and fed.size:
                self.executor.write(buffer.name, fed.astype(DTYPES[buffer.dtype]))
        self.executor.run(name)
        read, results = self.executor.read, (b for b in own if b.kind == "output")
        return [read(b.name, b.dtype, shape_at(b.shape, sizes)) for b in results]

    def check(
        self,
        name: str,
        runs: Sequence[Sizes],
        fill: Callable[[ir.Value, tuple[int, ...]], Array | None] = lambda *_: None,
        tolerance: float = 1e-5,
    ) -> None:
        """The graph gives what ONNX Runtime gives, on fresh inputs at each of these sizes."""
        model, random = self.models[name], np.random.default_rng(len(name))
        for sizes in runs:
            feeds = dict(random_feeds(model, sizes, random, fill))
            for wanted, found in zip(
                pass_helpers.run(model, feeds), self.run(name, sizes, feeds), strict=True
            ):
                compare(wanted, found, tolerance)

    def close(self) -> None:
        """Give the device's memory back."""
        if "executor" in vars(self):
            self.executor.close()
            self.folder.cleanup()


def _usual() -> dict[str, Any]:
    return {
        "device_class": CLASSES["cpu"],
        "symbols": SYMBOLS,
        "batch": BATCH,
        "context": 4096,
        "activations": "f32",
        "kv": "f32",
        "compute_units": 2,
        "local_memory": 32768,
    }


def shape_at(shape: Sequence[sympy.Expr], sizes: Sizes) -> tuple[int, ...]:
    """A shape where the symbols have values."""
    return tuple(int(d.subs({s: sizes[s.name] for s in d.free_symbols})) for d in shape)


def random_feeds(
    model: ir.Model,
    sizes: Sizes,
    random: np.random.Generator,
    fill: Callable[[ir.Value, tuple[int, ...]], Array | None],
) -> Iterator[tuple[str, Array]]:
    """Inputs of every type where `fill` has none: normal floats, integers from -5 to 4."""
    for value in model.graph.inputs:
        assert value.dtype is not None and value.name
        shape = shape_at([as_expr(d) for d in value.shape or ()], sizes)
        kind = value.dtype.numpy().kind
        array = fill(value, shape)
        if array is None and value.name in sizes:
            array = np.full(shape, sizes[value.name])
        elif array is None and value.name == "start":
            array = random.integers(0, sizes.get("past", 0) + 1, shape)
        elif array is None and kind == "f":
            array = random.standard_normal(shape)
        elif array is None:
            array = random.integers(*((0, 2) if kind == "b" else (-5, 5)), shape)
        yield value.name, np.asarray(array, value.dtype.numpy())


def compare(wanted: Array, found: Array, tolerance: float = 1e-5) -> None:
    """Integers are equal, floats close; what is not a number is so in both."""
    assert found.shape == wanted.shape
    if wanted.dtype.kind != "f":
        np.testing.assert_array_equal(found.astype(wanted.dtype), wanted)
        return
    finite = np.abs(wanted[np.isfinite(wanted)])
    scale = float(finite.max()) if finite.size else 1.0
    np.testing.assert_allclose(
        found.astype(np.float64), wanted, rtol=20 * tolerance, atol=tolerance * max(scale, 1e-3)
    )
