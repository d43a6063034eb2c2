"""What each graph input and output is for, found by structure; names and configs only break ties.

A language model has tokens, usually a mask and positions, pairs of past and present (one per cached
K and V), and logits.
"""

import dataclasses

import onnx_ir as ir

from onnx_passes.analysis.uses import cache_pairs, is_looked_up, reaches_rotation
from onnx_passes.ir.graph import GraphError

_KEY = "pocket_roles"


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


def note_roles(model: ir.Model, roles: Roles) -> None:
    """Let later passes find the roles: with the model object, as its file says nothing of them."""
    model.meta[_KEY] = roles


def has_roles(model: ir.Model) -> bool:
    """Whether they are known; until then dimensions have the exporter's names."""
    return _KEY in model.meta


def roles_of(model: ir.Model) -> Roles:
    """The roles that `canonicalize_dims` noted."""
    found: Roles = model.meta[_KEY]
    return found


def find_roles(graph: ir.Graph) -> Roles:
    """Assign a role to every input and output of a decoder, or raise RoleError naming the odd."""
    inputs = {value.name: value for value in graph.inputs if value.name}
    cache = tuple(cache_pairs(graph))
    tokens = [name for name, value in inputs.items() if is_looked_up(value)]
    if len(tokens) != 1:
        raise _no_tokens(list(inputs), tokens)
    rest = [name for name in inputs if name not in {*tokens, *(past for past, _ in cache)}]
    positions = [name for name in rest if reaches_rotation(inputs[name])]
    masks = [name for name in rest if name not in positions]
    presents = {present for _, present in cache}
    logits = [o.name for o in graph.outputs if o.name and o.name not in presents]
    learned = [name for name in masks if is_looked_up(inputs[name], ("Add", "Sub"))]
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
        "export a decoder of the Llama family: Llama, Mistral, Qwen2 and their like",
    )


def _refuse_extra(kind: str, names: list[str]) -> None:
    if names:
        raise RoleError(
            f"no role for the {kind} {names[0]!r}",
            "a decoder has tokens, a mask, positions, caches and logits; this is one more",
            "export without it (hidden states, attentions, labels, adapters are not supported)",
        )
