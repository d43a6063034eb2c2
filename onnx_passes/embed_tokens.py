"""A decoder that takes embeddings and the graph that looks them up  ->  one decoder of tokens.

Exporters of models that see or hear keep them apart (transformers.js, the GenAI builder): pictures
and sound become embeddings, too, and the looking up puts them in where tokens stand for them. Text
has none: what is put in goes, and with it the inputs that bring it.
"""

import onnx_ir as ir
from onnxscript.version_converter import ConvertVersionPass

from onnx_passes.drop_constant_inputs import drop_constant_inputs
from onnx_passes.inline_functions import inline_functions
from onnx_passes.ir.edit import Builder, drop_unused, drop_unused_inputs, forget_names, unique_name
from onnx_passes.ir.graph import GraphError, is_op, needed, rank
from onnx_passes.sort_nodes import sort_nodes

Pair = tuple[ir.Value, ir.Value]  # an input of the decoder, the output that it takes
_MOVES = ("Cast", "Reshape", "Identity", "Unsqueeze", "Squeeze", "Transpose", "Flatten")


def takes_embeddings(model: ir.Model) -> list[ir.Value]:
    """The inputs [batch, seq, width] of floats that bear such a name."""
    return [
        value
        for value in model.graph.inputs
        if "embed" in (value.name or "").lower() and rank(value) == 3 and _is_float(value)
    ]


def pairs_of(model: ir.Model, front: ir.Model) -> list[Pair]:
    """What of `front` the decoder takes: by name, or as both have just one; [] if nothing fits."""
    outputs = {value.name: value for value in front.graph.outputs}
    wanted = takes_embeddings(model)
    named = [(x, outputs[x.name]) for x in model.graph.inputs if x.name in outputs]
    if len(_tokens(front)) != 1:
        return []
    if any(x in wanted for x, _ in named):
        return named
    return [(wanted[0], front.graph.outputs[0])] if len(wanted) == len(outputs) == 1 else []


def embed_tokens(model: ir.Model, front: ir.Model) -> None:
    """Let `front` compute the decoder's embeddings from tokens, in place; `front` is used up.

    Raises GraphError where a text alone doesn't make them, or opsets can't be made the same.
    """
    for run in (drop_constant_inputs, sort_nodes, inline_functions):
        run(front)
    _to_one_opset(model, front)  # first: it may make all values anew
    pairs = [(x, _of_text(front, output)) for x, output in pairs_of(model, front)]
    front.graph.outputs[:] = [output for _, output in pairs]
    drop_unused(front)
    drop_unused_inputs(front)
    if len(front.graph.inputs) != 1:
        names = ", ".join(value.name or "" for value in front.graph.inputs)
        raise _more_than_text(f"its inputs are {names}")
    _move(model.graph, front.graph)
    for wanted, output in pairs:
        if wanted.dtype not in (None, output.dtype):
            b = Builder(model.graph[len(model.graph) - 1])
            output = b.op("Cast", output, to=int(wanted.dtype))
        ir.convenience.replace_all_uses_with(wanted, output)
        model.graph.inputs.remove(wanted)
    model.graph.sort()
    forget_names(model.graph)


def _of_text(front: ir.Model, output: ir.Value) -> ir.Value:
    """The output without what other inputs than tokens put into it."""
    others = _computed_from({*front.graph.inputs} - {*_tokens(front)}, front.graph)
    moved = list[ir.Node]()
    value = output
    while value in others:
        node = value.producer()
        if node is None:
            raise _more_than_text(f"{value.name} is one of them")
        if is_op(node, *_MOVES):
            moved.append(node)
        value = _kept(node, others)
    for node in reversed(moved):
        node.replace_input_with(0, value)
        value = node.outputs[0]
    return value


def _kept(node: ir.Node, others: set[ir.Value]) -> ir.Value:
    """The operand that stands where tokens are those of a text."""
    if is_op(node, "ScatterND", "ScatterElements", *_MOVES):
        return needed(node, 0)
    free = [x for x in node.inputs[1:] if x is not None and x not in others]
    if not is_op(node, "Where") or len(free) != 1:
        raise _more_than_text(f"{node.op_type} {node.name} mixes them with something else")
    return free[0]


def _computed_from(inputs: set[ir.Value], graph: ir.Graph) -> set[ir.Value]:
    found = set(inputs)
    for node in graph:
        if any(value in found for value in node.inputs):
            found.update(node.outputs)
    return found


def _more_than_text(because: str) -> GraphError:
    return GraphError(
        "the model's embeddings are not those of a text alone",
        because,
        "export a decoder that takes token ids",
    )


def _tokens(front: ir.Model) -> list[ir.Value]:
    """Whole numbers [batch, seq]."""
    inputs = (value for value in front.graph.inputs if not value.is_initializer())
    return [x for x in inputs if rank(x) == 2 and x.dtype is not None and x.dtype.is_integer()]


def _is_float(value: ir.Value) -> bool:
    return value.dtype is not None and value.dtype.is_floating_point()


def _to_one_opset(model: ir.Model, front: ir.Model) -> None:
    """Convert the older one to the other's version of ONNX's own ops."""
    older, newer = sorted((model, front), key=lambda each: each.opset_imports[""])
    version = newer.opset_imports[""]
    if older.opset_imports[""] < version:
        ConvertVersionPass(version, fallback=True)(older)
    if older.opset_imports[""] != version:
        raise GraphError(
            "the model's embeddings are in another opset than the decoder",
            f"they could not be converted to opset {version}",
            "export both again with one opset",
        )
    imports = {**front.opset_imports, **model.opset_imports}
    model.opset_imports.update(imports)


def _move(graph: ir.Graph, front: ir.Graph) -> None:
    """Put all of `front` before the first node, under names that are free."""
    (tokens,) = front.inputs
    weights, nodes, first = list(front.initializers.values()), list(front), graph[0]
    front.inputs.clear()
    front.outputs.clear()
    front.initializers.clear()
    front.remove(nodes)
    for value in (tokens, *weights, *(output for node in nodes for output in node.outputs)):
        value.name = unique_name(graph, value.name or "embedding")
    for value in weights:
        graph.register_initializer(value)
    graph.inputs.insert(0, tokens)
    graph.insert_before(first, nodes)
