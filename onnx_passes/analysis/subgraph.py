"""Run a piece of the graph on chosen inputs, to recognise it by what it computes.

Uses ONNX's reference evaluator (numpy), on request in float64: rotary tables are computed that
way. How much it computes is limited beforehand, and the shapes that it finds must be those that
were inferred (evaluation_checks.py).
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import sympy
from onnx.reference import ReferenceEvaluator

from onnx_passes.analysis.evaluation_checks import LARGE, check_inferred, check_work
from onnx_passes.ir.dims import evaluated, symbolic_value
from onnx_passes.ir.graph import COUNTED, COUNTING, DOMAIN, is_constant, rank
from onnx_passes.ir.ops import definitions
from onnx_passes.ir.rules import Miss

_TRIED = ((1, 0), (3, 0), (5, 4), (1, 9))  # seq, past
READS_SHAPES = ("Shape", "Size")  # ops that read nothing of a tensor but its shape


class Subgraph:
    """The ancestors of a few values, ready to be run for any sequence, past and padding.

    What is known as an expression of seq and past is fed, and what computes it left out.
    """

    def __init__(self, model: ir.Model, values: Iterable[ir.Value], double: bool = False) -> None:
        """Extract what computes `values` from graph inputs; `double` widens float32 throughout."""
        wanted = list(values)
        self.reached = reached = _ancestors(wanted)
        self.padded = any(value.name == "start" for value in reached)  # padding makes a difference
        self.wanted = [value.name or "" for value in wanted]
        _refuse_data(reached)
        self.sizes = {
            v: e for v, e in ((v, _expressions(v)) for v in reached if v not in wanted) if e
        }
        self.used = [v for v in model.graph.inputs if v in reached and not v.is_initializer()]
        piece = _extract(model, [*self.used, *self.sizes], wanted)
        if double:
            _widen(piece)
        built = ir.to_proto(ir.Model(piece, ir_version=10))
        built.functions.extend(body for body in definitions() if body.name in COUNTING)
        try:
            self.evaluator = ReferenceEvaluator(built)
        except Exception as error:  # anything: the evaluator meets ops that it does not know
            raise Miss(f"it cannot be evaluated: {error}") from error

    def run(self, seq: int, past: int, padding: int = 0) -> list[np.ndarray]:
        """The values for `seq` new tokens after `past`; the first `padding` of all are padding."""
        at = {"seq": seq, "past": past, "rows": seq}
        check_work(self.reached, at)
        try:
            feeds = {v.name or "": self._feed(v, at, padding) for v in self.used}
            feeds |= {v.name or "": _elements(v, e, at) for v, e in self.sizes.items()}
            with np.errstate(all="ignore"):  # a branch that is not chosen may be no number
                found = dict(self.evaluator.run(None, feeds, intermediate=True))
        except Exception as error:  # anything: the piece may be valid only for other sizes
            raise Miss(f"evaluating it for seq={seq}, past={past} fails: {error}") from error
        arrays = {name: np.asarray(value) for name, value in found.items() if value is not None}
        check_inferred(self.reached, arrays, at)
        return [arrays[name] for name in self.wanted]

    def _feed(self, value: ir.Value, at: Mapping[str, int], padding: int) -> np.ndarray:
        """Counters are what they are; of all else only the shape is read."""
        number = {"past": at["past"], "start": padding, "rows": at["rows"]}.get(value.name or "", 0)
        return np.broadcast_to(_array(value, number), _shape(value, at)).copy()


def holds_number(model: ir.Model, value: ir.Value, number: Callable[[int, int], int]) -> bool:
    """Whether all elements of a value are this function of seq and past, at sizes that are tried.

    Raises Miss where the value cannot be evaluated.
    """
    piece = Subgraph(model, [value])
    return all((piece.run(seq, past)[0] == number(seq, past)).all() for seq, past in _TRIED)


def _array(value: ir.Value, numbers: npt.ArrayLike) -> np.ndarray:
    dtype = ir.DataType.INT64 if value.dtype is None else value.dtype
    return np.asarray(numbers).astype(dtype.numpy())


def _shape(value: ir.Value, at: Mapping[str, int]) -> list[int]:
    return [evaluated(dim, at) for dim in value.shape or ()]


def _elements(value: ir.Value, elements: list[sympy.Expr], at: Mapping[str, int]) -> np.ndarray:
    return _array(value, [evaluated(e, at) for e in elements]).reshape(_shape(value, at))


def _expressions(value: ir.Value) -> list[sympy.Expr] | None:
    """The elements of a computed shape, if they are all known."""
    if value.producer() is None or is_constant(value) or rank(value) not in (0, 1):
        return None
    return symbolic_value(value)


def _extract(model: ir.Model, inputs: list[ir.Value], outputs: list[ir.Value]) -> ir.Graph:
    try:
        piece = ir.convenience.extract(model.graph, inputs=inputs, outputs=outputs)
    except (ValueError, RuntimeError) as error:
        reason = str(error).split("\n")[0]
        raise Miss(f"it cannot be cut out of the graph: {reason}") from error
    nodes = (n for n in piece.all_nodes() if n.domain not in ("", "ai.onnx"))
    strange = next((n for n in nodes if not counts(n)), None)
    if strange is not None:
        raise Miss(f"it is computed by {strange.op_type}")
    sizes = {
        v: 0 if v.const_value is None else v.const_value.size for v in piece.initializers.values()
    }
    large = next((v for v, size in sizes.items() if size > LARGE), None)
    if large is not None:
        raise Miss(f"it needs the large tensor {large.name}")
    piece.opset_imports.update({**model.opset_imports, DOMAIN: 1})
    return piece


def counts(node: ir.Node) -> bool:
    """Whether the node computes with counters, and reads nothing of its tokens but their number."""
    return node.domain == DOMAIN and node.op_type in COUNTING


def _ancestors(values: list[ir.Value]) -> set[ir.Value]:
    """What `values` are computed from, themselves included; not beyond shapes that are known."""
    found: set[ir.Value] = set()
    front = list(values)
    while front:
        value = front.pop()
        node = value.producer()
        if value in found:
            continue
        found.add(value)
        if node is not None and (value in values or _expressions(value) is None):
            front += [v for n in _inside(node) for v in n.inputs if v is not None]
    return found


def _inside(node: ir.Node) -> list[ir.Node]:
    """The node, and the nodes of its branches and loop bodies."""
    bodies = [a.as_graph() for a in node.attributes.values() if a.type == ir.AttributeType.GRAPH]
    return [node, *(inner for body in bodies for inner in body.all_nodes())]


def _refuse_data(reached: set[ir.Value]) -> None:
    """Tokens and caches are fed with zeros: only their shapes may matter."""
    for value in reached:
        if not value.is_graph_input() or value.name in COUNTED or value.is_initializer():
            continue
        readers = [use.node for use in value.uses() if use.node.outputs[0] in reached]
        if any(n.op_type not in READS_SHAPES and not counts(n) for n in readers):
            raise Miss(f"it depends on what is in {value.name}")


def _widen(piece: ir.Graph) -> None:
    """float32 becomes float64: in constants, and in what values are cast to."""
    wide, narrow = ir.DataType.DOUBLE, ir.DataType.FLOAT
    graphs = (piece, *piece.subgraphs())  # branches have constants of their own
    for value in (value for graph in graphs for value in graph.initializers.values()):
        if value.const_value is not None and value.const_value.dtype == narrow:
            value.const_value = ir.tensor(
                value.const_value.numpy().astype(np.float64), name=value.name
            )
            value.type = ir.TensorType(wide)  # its old one is still that of the model's value
    for node in piece.all_nodes():
        for name, attr in list(node.attributes.items()):
            if attr.type == ir.AttributeType.TENSOR and attr.as_tensor().dtype == narrow:
                array = attr.as_tensor().numpy().astype(np.float64)
                node.attributes[name] = ir.AttrTensor(name, ir.tensor(array))
            elif node.op_type == "Cast" and name == "to" and attr.as_int() == narrow:
                node.attributes[name] = ir.AttrInt64(name, int(wide))
