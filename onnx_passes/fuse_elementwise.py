"""What is left of elementwise arithmetic  ->  pocket.Elementwise, one generated kernel for each chain.

The op's body is the chain itself, kept as a function of the model under an overload named by its content: ONNX Runtime
runs it, and the lowering reads the expression from it.
"""

import hashlib

import numpy as np
import onnx_ir as ir

from onnx_passes.graph import DOMAIN, Builder, constant, is_constant, replace, scalar, sole_use

ELEMENTWISE = frozenset(
    "Add Sub Mul Div Neg Abs Exp Log Sqrt Reciprocal Pow Max Min Sigmoid Tanh Relu Erf Identity".split()
)
MAX_INPUTS = 8  # buffers that the kernel takes


def fuse_elementwise(model: ir.Model) -> int:
    """Fuse chains, each from its last node upwards; return how many."""
    count = 0
    for node in reversed(list(model.graph)):
        if node.graph is not None and _is_elementwise(node):
            _fuse(model, _chain(node))
            count += 1
    return count


def _is_elementwise(node: ir.Node) -> bool:
    output = node.outputs[0]
    floating = output.dtype is not None and output.dtype.is_floating_point()
    return node.domain == "" and node.op_type in ELEMENTWISE and floating and output.shape is not None


def _chain(last: ir.Node) -> list[ir.Node]:
    """`last` and what it alone reads, as long as shapes stay the same and inputs fit; in order of the graph."""
    chain, front = [last], list(last.inputs)
    while front:
        value = front.pop()
        node = None if value is None else value.producer()
        if node is None or value is None or not _is_elementwise(node) or sole_use(value) not in chain:
            continue
        if value.shape == last.outputs[0].shape and len(_inputs([*chain, node])) <= MAX_INPUTS:
            chain.append(node)
            front += list(node.inputs)
    return chain[::-1]


def _inputs(chain: list[ir.Node]) -> list[ir.Value]:
    """What the chain reads from outside, numbers excepted."""
    inside = {output for node in chain for output in node.outputs}
    found = (v for node in chain for v in node.inputs if v is not None and v not in inside and not _is_number(v))
    return list(dict.fromkeys(found))


def _is_number(value: ir.Value) -> bool:
    return is_constant(value) and value.shape is not None and value.shape.rank() <= 1 and scalar(value) is not None


def _fuse(model: ir.Model, chain: list[ir.Node]) -> None:
    last, inputs = chain[-1], _inputs(chain)
    order = {node: i for i, node in enumerate(model.graph)}
    function = _function(sorted(chain, key=order.__getitem__), inputs, model.opset_imports.get("", 18))
    model.functions[function.identifier()] = function
    y = Builder(last).op("Elementwise", *inputs, domain=DOMAIN, overload=function.overload)
    y.type, y.shape = last.outputs[0].type, last.outputs[0].shape
    replace(last, y)
    for node in reversed(chain[:-1]):
        if node.graph is not None:
            node.graph.remove(node, safe=True)  # type: ignore[union-attr]


def _function(chain: list[ir.Node], inputs: list[ir.Value], opset: int) -> ir.Function:
    """The chain as a function of its inputs x0, x1 …; its overload is a hash of what it computes."""
    values = {value: ir.val(f"x{i}") for i, value in enumerate(inputs)}
    formal, nodes, text = list(values.values()), [], []
    for node in chain:
        for value in node.inputs:
            if value is not None and value not in values:
                values[value] = _number(value, len(values), nodes, text)
        output = ir.val(f"v{len(values)}")
        nodes.append(ir.node(node.op_type, [values[v] for v in node.inputs if v is not None], outputs=[output]))
        text.append(f"{output.name}={node.op_type}({','.join(v.name or '' for v in nodes[-1].inputs if v is not None)})")
        values[node.outputs[0]] = output
    graph = ir.Graph(formal, [values[chain[-1].outputs[0]]], nodes=nodes, opset_imports={"": opset})
    overload = hashlib.sha256("\n".join([str(len(formal)), *text]).encode()).hexdigest()[:8]
    return ir.Function(DOMAIN, "Elementwise", f"e{overload}", graph=graph, attributes={})


def _number(value: ir.Value, index: int, nodes: list[ir.Node], text: list[str]) -> ir.Value:
    array = constant(value)
    assert array is not None
    output = ir.val(f"c{index}")
    nodes.append(ir.node("Constant", [], {"value": ir.tensor(np.reshape(array, ()))}, outputs=[output]))
    text.append(f"{output.name}={float(np.reshape(array, ()))!r}:{array.dtype}")
    return output
