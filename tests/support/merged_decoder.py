"""Two decoders in one file, as older exporters merge them: a branch for each, chosen by a flag."""

import onnx
import onnx_ir as ir
from onnx import helper
from pass_helpers import text
from tiny_decoder import decoder_text

FLAG = "use_cache_branch"
CAUSAL = "seen = And(causal, real)"
CACHES = ("cache_k", "cache_v")


def merged(cached: tuple[str, str] = ("", ""), source: str = "") -> ir.Model:
    """The tiny decoder, or `source`; `cached` changes its branch for a cached text."""
    source = source or decoder_text()
    whole = ir.to_proto(text(source)).graph
    past = ir.to_proto(text(source.replace(*cached))).graph
    first = _branch("no_past", whole)
    for name in reversed(CACHES):  # the branch for a text that begins makes caches of its own
        empty = helper.make_tensor("empty", onnx.TensorProto.FLOAT, (1, 2, 0, 8), [])
        first.node.insert(0, helper.make_node("Constant", [], [f"no_past/{name}"], value=empty))
    outputs = [output.name for output in whole.output]
    chooses = helper.make_node(
        *("If", [FLAG], outputs, "optimum::if"),
        then_branch=_branch("with_past", past, CACHES),
        else_branch=first,
    )
    flag = helper.make_tensor_value_info(FLAG, onnx.TensorProto.BOOL, [1])
    graph = helper.make_graph(
        *([chooses], "merged", [*whole.input, flag], [*whole.output], [*whole.initializer])
    )
    opset = [helper.make_opsetid("", 18)]
    return ir.from_proto(helper.make_model(graph, opset_imports=opset, ir_version=10))


def _branch(name: str, graph: onnx.GraphProto, outside: tuple[str, ...] = ()) -> onnx.GraphProto:
    """The nodes of a graph with names of their own; weights and inputs are those around it."""
    shared = {value.name for value in (*graph.input, *graph.initializer)} - {*CACHES}
    kept = {"", *shared, *outside, *(output.name for output in graph.output)}
    nodes = []
    for node in graph.node:
        nodes.append(onnx.NodeProto())
        nodes[-1].CopyFrom(node)
        nodes[-1].input[:] = [x if x in kept else f"{name}/{x}" for x in node.input]
        nodes[-1].output[:] = [x if x in kept else f"{name}/{x}" for x in node.output]
    return helper.make_graph(nodes, name, [], [*graph.output])
