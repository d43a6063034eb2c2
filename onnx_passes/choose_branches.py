"""An If on a flag that says whether a cache is filled  ->  its branch for a filled one.

Exporters merge two decoders into one file: one for a text that begins, which reads no cache, and
one for a text that goes on. With an empty cache the second does the work of the first, if it was
exported for more than one token at a time; whether it was, the graph doesn't say (`noted_flag`
lets a compile try it). (optimum's merged decoders, `use_cache_branch`.)
"""

import onnx_ir as ir

from onnx_passes.ir.edit import forget_names, replace, unique_name
from onnx_passes.ir.graph import needed, through
from onnx_passes.ir.rules import Miss, Outcome, Rules, apply

_KEY = "pocket_cache_flag"
_MOVED = ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze")


def choose_branches(model: ir.Model) -> Outcome:
    """Put such a branch in the place of its If."""
    return apply(model, RULES)


def noted_flag(model: ir.Model) -> str | None:
    """The input that chose between branches; None if the model has no such input."""
    found: str | None = model.meta.get(_KEY)
    return found


def _chosen(model: ir.Model, node: ir.Node) -> bool:
    flag = through(needed(node, 0), *_MOVED)
    if flag is None or not flag.is_graph_input():
        return False
    branches = [node.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
    then, other = (_inputs_read(branch, model.graph) for branch in branches)
    if not (then > other or then < other):
        uneven = "neither of its branches reads all that the other reads"
        raise Miss(f"{uneven}: {flag.name} is no flag of a cache")
    chosen, dropped = branches if then > other else reversed(branches)
    for unread in dropped.all_nodes():  # else its inputs would still count as read
        for index in range(len(unread.inputs)):
            unread.replace_input_with(index, None)
    _inline(model.graph, node, chosen)
    model.meta[_KEY] = flag.name
    return True


def _inputs_read(branch: ir.Graph, graph: ir.Graph) -> set[ir.Value]:
    """The inputs of the graph that the branch reads, its inner graphs included."""
    inputs = {value for value in graph.inputs if not value.is_initializer()}
    read = {value for node in branch.all_nodes() for value in node.inputs}
    return inputs & (read | {*branch.outputs})


def _inline(graph: ir.Graph, node: ir.Node, branch: ir.Graph) -> None:
    outputs, weights, nodes = [*branch.outputs], [*branch.initializers.values()], [*branch]
    branch.outputs.clear()
    branch.initializers.clear()
    branch.remove(nodes)
    for value in weights:
        value.name = unique_name(graph, value.name or "weight")
        graph.register_initializer(value)
    graph.insert_before(node, nodes)
    replace(node, *outputs)
    forget_names(graph)


RULES: Rules = {("", "If"): _chosen}
