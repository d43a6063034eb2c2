"""What each graph input and output is for, found by structure; names and configs only break ties.

A language model has tokens, usually a mask and positions, pairs of past and present (one per cached
K and V), and logits.
"""

import dataclasses
import json
from collections.abc import Iterator

import onnx_ir as ir

from onnx_passes.ir.graph import (
    GraphError,
    attribute,
    dim,
    is_constant,
    operand,
    producer,
    rank,
    through,
)

# Ops that move or retype numbers without changing what they mean: positions stay positions.
_MOVES = (
    *("Cast", "Unsqueeze", "Squeeze", "Reshape", "Expand", "Transpose", "Concat", "Identity"),
    *("Slice", "Gather"),
)
# Ops that hand token ids on to the embedding unchanged.
_HANDS_ON = ("Cast", "Reshape", "Identity", "Flatten", "Unsqueeze", "Squeeze")
# (op type) -> {output index: input index} where the op itself extends a cache
_CACHE_OPS = {
    "GroupQueryAttention": {1: 3, 2: 4},
    "Attention": {1: 4, 2: 5},
    "MultiHeadAttention": {1: 6, 2: 7},
}
_RETYPED = ("Cast", "Identity")
_EXTENDING = ("Concat", "ScatterND", "ScatterElements", "TensorScatter")


class RoleError(GraphError):
    """The model's inputs or outputs do not look like a decoder's."""


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
    """Assign a role to every input and output of a decoder, or raise RoleError naming the odd."""
    inputs = {value.name: value for value in graph.inputs if value.name}
    cache = tuple(_cache_pairs(graph))
    tokens = [name for name, value in inputs.items() if _is_looked_up(value)]
    if len(tokens) != 1:
        raise _no_tokens(list(inputs), tokens)
    rest = [name for name in inputs if name not in {*tokens, *(past for past, _ in cache)}]
    positions = [name for name in rest if _reaches_rotation(inputs[name])]
    masks = [name for name in rest if name not in positions]
    presents = {present for _, present in cache}
    logits = [o.name for o in graph.outputs if o.name and o.name not in presents]
    learned = [name for name in masks if _is_looked_up(inputs[name], ("Add", "Sub"))]
    if learned:
        raise _learned_positions(learned[0])
    _refuse_extra("input", masks[1:] + positions[1:])
    _refuse_extra("output", logits[1:])
    if not logits:
        raise RoleError(
            "the model has no logits",
            "every output is a cache",
            "export the language-model head too",
        )
    return Roles(tokens[0], logits[0], _first(masks), _first(positions), cache)


def _first(names: list[str]) -> str | None:
    return names[0] if names else None


def _no_tokens(inputs: list[str], tokens: list[str]) -> RoleError:
    found = f"looked up: {', '.join(tokens)}" if tokens else "none indexes a table"
    return RoleError(
        f"{'more than one' if tokens else 'no'} input of the model is a sequence of token ids",
        f"inputs: {', '.join(inputs)}; {found}",
        "export a decoder with its embedding, for example by optimum's text-generation-with-past",
    )


def _learned_positions(name: str) -> RoleError:
    return RoleError(
        f"the input {name!r} looks up learned positions",
        "this architecture (as GPT-2 and OPT) adds position embeddings instead of rotating",
        "Llama-family decoders are supported so far: Llama, Mistral, Qwen2 and their like",
    )


def _refuse_extra(kind: str, names: list[str]) -> None:
    if names:
        raise RoleError(
            f"no role for the {kind} {names[0]!r}",
            "a decoder has tokens, a mask, positions, caches and logits; this is one more",
            "export without it (hidden states, attentions, labels, adapters are not supported)",
        )


def _is_looked_up(value: ir.Value, shifts: tuple[str, ...] = ()) -> bool:
    """Whether the value, retyped or passed through `shifts`, indexes a constant table of floats."""
    seen: set[ir.Value] = set()
    front = [value]
    while front:
        current = front.pop()
        if current in seen:
            continue
        seen.add(current)
        for node, index in current.uses():
            if node.op_type == "Gather" and index == 1 and _is_table(operand(node, 0)):
                return True
            if (node.op_type in _HANDS_ON and index == 0) or node.op_type in shifts:
                front += node.outputs
    return False


def _is_table(value: ir.Value | None) -> bool:
    source = through(value, "Transpose", "Cast", "Identity")
    if source is None or not is_constant(source) or _rank(source) != 2:
        return False
    return source.dtype is None or source.dtype.is_floating_point()


def _rank(value: ir.Value) -> int | None:
    tensor = ir.convenience.get_const_tensor(value)
    return rank(value) if tensor is None else len(tensor.shape)


def _cache_pairs(graph: ir.Graph) -> Iterator[tuple[str, str]]:
    """Pasts and presents, through casts: some exporters write them even to a value's own type."""
    for output in graph.outputs:
        present = through(output, *_RETYPED)
        node = producer(present, *_CACHE_OPS, *_EXTENDING)
        if node is None or present is None:
            continue
        extended = [*node.inputs]
        if node.op_type in _CACHE_OPS:
            index = _CACHE_OPS[node.op_type].get(present.index() or 0, len(extended))
            extended = [operand(node, index)]
        sources = (through(value, *_RETYPED) for value in extended)
        past = next((x for x in sources if x is not None and x.is_graph_input()), None)
        if past is not None and past.name and output.name:
            yield past.name, output.name


def _reaches_rotation(value: ir.Value) -> bool:
    """Whether the value becomes an angle or indexes rotary tables: then it is the positions."""
    seen: set[ir.Value] = set()
    front = [(value, False)]
    while front:
        current, multiplied = front.pop()
        if current in seen:
            continue
        seen.add(current)
        for node, index in current.uses():
            rotary = node.op_type == "RotaryEmbedding" and index in (1, 3)
            if node.op_type in ("Cos", "Sin") or rotary:
                return True
            if node.op_type in _MOVES and not (
                node.op_type == "Gather" and index == 1 and multiplied
            ):
                front += [(output, multiplied) for output in node.outputs]
            if node.op_type in ("Mul", "MatMul", "Einsum") and not multiplied:
                front += [(output, True) for output in node.outputs]
    return False


def cache_widths(graph: ir.Graph) -> dict[str, int]:
    """Head widths of caches that the exporter left symbolic: from the fused ops that read them."""
    widths: dict[str, int] = {}
    for node in graph:
        heads, groups = attribute(node, "num_heads", 0), attribute(node, "kv_num_heads", 0)
        width = dim(operand(node, 0), -1)
        if node.op_type != "GroupQueryAttention" or width is None or not heads or not groups:
            continue
        packed = operand(node, 1) is None
        for past in node.inputs[3:5]:
            if past is not None and past.name:
                widths[past.name] = width // (heads + 2 * groups if packed else heads)
    return widths
