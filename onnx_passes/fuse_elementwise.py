"""What is left of elementwise arithmetic  ->  pocket.Elementwise, one generated kernel per chain.

The op's body is the chain itself, kept as a function of the model under an overload named by its
content: ONNX Runtime runs it, and the lowering reads the expression from it.
"""

import hashlib
from functools import partial

import numpy as np
import onnx_ir as ir

from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.graph import DOMAIN, constant, is_constant, opset, rank, scalar, sole_reader
from onnx_passes.ir.rules import Outcome, attempt
from opencl_kernels.elementwise.functions import SCALAR_OPS

KINDS = {"float": ir.DataType.is_floating_point}  # of the types that an op takes
MAX_INPUTS = 8  # buffers that the kernel takes
MAX_NODES = 64  # of one chain


def fuse_elementwise(model: ir.Model) -> Outcome:
    """Fuse chains, each from its last node upwards."""
    order = {node: i for i, node in enumerate(model.graph)}
    return attempt((node, partial(_fuse_up, model, node, order)) for node in reversed([*order]))


def _fuse_up(model: ir.Model, node: ir.Node, order: dict[ir.Node, int]) -> bool:
    if not _is_elementwise(node):
        return False
    _fuse(model, sorted(_chain(node), key=order.__getitem__))
    return True


def _is_elementwise(node: ir.Node) -> bool:
    output = node.outputs[0]
    if node.domain != "" or node.op_type not in SCALAR_OPS or output.shape is None:
        return False
    values = (*node.inputs, output)
    is_of_kind = KINDS[SCALAR_OPS[node.op_type].operands]
    return all(v is not None and v.dtype is not None and is_of_kind(v.dtype) for v in values)


def _chain(last: ir.Node) -> list[ir.Node]:
    """`last` and what it alone reads, as long as shapes stay the same and inputs fit."""
    chain, front = [last], list(last.inputs)
    while front and len(chain) < MAX_NODES:
        value = front.pop()
        node = None if value is None else value.producer()
        if node is None or value is None or not _is_elementwise(node):
            continue
        if node in chain or sole_reader(value) not in chain:
            continue
        if value.shape == last.outputs[0].shape and len(_inputs([*chain, node])) <= MAX_INPUTS:
            chain.append(node)
            front += list(node.inputs)
    return chain


def _inputs(chain: list[ir.Node]) -> list[ir.Value]:
    """What the chain reads from outside, numbers excepted."""
    inside = {output for node in chain for output in node.outputs}
    read = (v for node in chain for v in node.inputs if v is not None and v not in inside)
    return list(dict.fromkeys(v for v in read if not _is_number(v)))


def _is_number(value: ir.Value) -> bool:
    return is_constant(value) and (rank(value) or 0) <= 1 and scalar(value) is not None


def _fuse(model: ir.Model, chain: list[ir.Node]) -> None:
    last, inputs = chain[-1], _inputs(chain)
    function = _function(chain, inputs)
    model.functions[function.identifier()] = function
    y = Builder(last).op("Elementwise", *inputs, domain=DOMAIN, overload=function.overload)
    replace(last, y)
    for node in reversed(chain[:-1]):
        assert node.graph is not None
        node.graph.remove(node, safe=True)


def _function(chain: list[ir.Node], inputs: list[ir.Value]) -> ir.Function:
    """The chain as a function of inputs x0, x1 …; its overload is a hash of what it computes."""
    values = {value: ir.val(f"x{i}") for i, value in enumerate(inputs)}
    formal, nodes, text = list(values.values()), list[ir.Node](), [str(len(inputs))]
    for node in chain:
        for value in node.inputs:
            if value is not None and value not in values:
                values[value], number, line = _number(value, f"c{len(values)}")
                nodes.append(number)
                text.append(line)
        output = ir.val(f"v{len(values)}")
        operands = [values[v] for v in node.inputs if v is not None]
        nodes.append(ir.node(node.op_type, operands, outputs=[output]))
        names = ",".join(v.name or "" for v in operands)
        text.append(f"{output.name}={node.op_type}({names})")
        values[node.outputs[0]] = output
    imports = {"": opset(chain[-1])}
    graph = ir.Graph(formal, [values[chain[-1].outputs[0]]], nodes=nodes, opset_imports=imports)
    overload = hashlib.sha256("\n".join(text).encode()).hexdigest()[:8]
    return ir.Function(DOMAIN, "Elementwise", f"e{overload}", graph=graph, attributes={})


def _number(value: ir.Value, name: str) -> tuple[ir.Value, ir.Node, str]:
    array = constant(value)
    assert array is not None
    number, output = np.reshape(array, ()), ir.val(name)
    node = ir.node("Constant", [], {"value": ir.tensor(number)}, outputs=[output])
    return output, node, f"{name}={float(number)!r}:{array.dtype}"
