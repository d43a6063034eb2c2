"""What each graph input and output is for, found by structure: names and configs only break ties.

A language model has tokens, usually a mask and positions, pairs of past and present (one per cached K and V), and logits.
"""

import dataclasses
import json
from collections.abc import Iterator

import onnx_ir as ir

from onnx_passes.graph import attribute, is_constant, operand, through

# Ops that move or retype numbers without changing what they mean; a position is still a position behind them.
_MOVES = ("Cast", "Unsqueeze", "Squeeze", "Reshape", "Expand", "Transpose", "Concat", "Identity", "Slice", "Gather")
# (op type) -> {output index: input index} where the op itself extends a cache
_CACHE_OPS = {"GroupQueryAttention": {1: 3, 2: 4}, "Attention": {1: 4, 2: 5}, "MultiHeadAttention": {1: 6, 2: 7}}


class RoleError(ValueError):
    """The model's inputs or outputs do not look like a decoder's."""

    def __init__(self, what: str, because: str, hint: str) -> None:
        super().__init__(what)
        self.what, self.because, self.hint = what, because, hint


@dataclasses.dataclass(frozen=True)
class Roles:
    """Names of graph inputs and outputs by what they are for; None where a model has none."""

    tokens: str
    logits: str
    mask: str | None
    positions: str | None
    cache: tuple[tuple[str, str], ...]  # (past input, present output), in order of the outputs

    def to_text(self) -> str:
        """For the model's metadata."""
        return json.dumps(dataclasses.asdict(self))


def roles_of(model: ir.Model) -> Roles:
    """The roles that `canonicalize_dims` noted in the model's metadata."""
    fields = json.loads(model.metadata_props["pocket.roles"])
    return Roles(**{**fields, "cache": tuple((past, present) for past, present in fields["cache"])})


def find_roles(graph: ir.Graph) -> Roles:
    """Assign a role to every input and output of a decoder, or raise RoleError naming the odd one."""
    inputs = {value.name: value for value in graph.inputs if value.name and not value.is_initializer()}
    cache = tuple(_cache_pairs(graph))
    tokens = [name for name, value in inputs.items() if _is_looked_up(value)]
    if len(tokens) != 1:
        raise RoleError(
            f"{'no' if not tokens else 'more than one'} input of the model is a sequence of token ids",
            f"inputs: {', '.join(inputs)}; " + (f"looked up: {', '.join(tokens)}" if tokens else "none indexes a table"),
            "export a decoder with its embedding, for example with optimum's text-generation-with-past",
        )
    rest = [name for name in inputs if name not in tokens and name not in {past for past, _ in cache}]
    positions = [name for name in rest if _reaches_rotation(inputs[name])]
    masks = [name for name in rest if name not in positions]
    logits = [o.name for o in graph.outputs if o.name and o.name not in {present for _, present in cache}]
    _refuse_extra("input", masks[1:] + positions[1:])
    _refuse_extra("output", logits[1:])
    if not logits:
        raise RoleError("the model has no logits", "every output is a cache", "export the language-model head too")
    return Roles(tokens[0], logits[0], *((n[0] if n else None) for n in (masks, positions)), cache)  # type: ignore[misc]


def _refuse_extra(kind: str, names: list[str]) -> None:
    if names:
        raise RoleError(
            f"no role for the {kind} {names[0]!r}",
            "a decoder has tokens, a mask, positions, caches and logits; this is one more",
            "export without it (hidden states, attentions, labels, adapters are not supported)",
        )


def _is_looked_up(value: ir.Value) -> bool:
    """Whether the value, or a retyped form of it, indexes a constant table of floats."""
    for use in value.uses():
        node = use.node
        if node.op_type in ("Gather", "GatherBlockQuantized") and use.idx == 1 and _is_table(node.inputs[0]):
            return True
        if node.op_type in ("Cast", "Reshape", "Identity", "Flatten", "Unsqueeze") and use.idx == 0:
            if _is_looked_up(node.outputs[0]):
                return True
    return False


def _is_table(value: ir.Value | None) -> bool:
    source = through(value, "Transpose", "Cast", "Identity")
    if source is None or not is_constant(source) or source.shape is None or source.shape.rank() != 2:
        return False
    return source.dtype is None or source.dtype.is_floating_point() or source.dtype in (ir.DataType.UINT8,)


def _cache_pairs(graph: ir.Graph) -> Iterator[tuple[str, str]]:
    for output in graph.outputs:
        node = output.producer()
        if node is None or output.name is None:
            continue
        past = None
        if node.op_type in _CACHE_OPS:
            past = operand(node, _CACHE_OPS[node.op_type].get(list(node.outputs).index(output), -1))
        elif node.op_type in ("Concat", "ScatterND", "ScatterElements", "TensorScatter"):
            past = next((x for x in node.inputs if x is not None and x.is_graph_input()), None)
        if past is not None and past.is_graph_input() and past.name:
            yield past.name, output.name


def _reaches_rotation(value: ir.Value) -> bool:
    """Whether the value becomes an angle (Cos, Sin) or indexes rotary tables: then it is the positions."""
    seen: set[ir.Value] = set()
    front = [(value, False)]
    while front:
        current, multiplied = front.pop()
        if current in seen:
            continue
        seen.add(current)
        for use in current.uses():
            node = use.node
            if node.op_type in ("Cos", "Sin") or (node.op_type == "RotaryEmbedding" and use.idx in (1, 3)):
                return True
            if node.op_type in _MOVES and not (node.op_type == "Gather" and use.idx == 1 and multiplied):
                front += [(output, multiplied) for output in node.outputs]
            if node.op_type in ("Mul", "MatMul", "Einsum") and not multiplied:
                front += [(output, True) for output in node.outputs]
    return False


def cache_heads(graph: ir.Graph, past: str) -> int | None:
    """Head width of a cache that the exporter left symbolic: from the fused attention op that reads it."""
    for node in graph:
        if node.op_type == "GroupQueryAttention" and any(x is not None and x.name == past for x in node.inputs[3:5]):
            heads, groups = attribute(node, "num_heads"), attribute(node, "kv_num_heads")
            query = node.inputs[0]
            width = None if query is None or query.shape is None else query.shape[-1]
            packed = operand(node, 1) is None
            if isinstance(width, int):
                return int(width // (heads + 2 * groups if packed else heads))
    return None
