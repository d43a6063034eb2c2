"""What each graph input and output is for, found by structure; names and configs only break ties.

A language model has tokens, usually a mask and positions, pairs of past and present (one per cached
K and V), and logits. Tokens look up a table with a row for each logit; positions become angles, or
look up a table of another length.
"""

import dataclasses

import onnx_ir as ir

from onnx_passes.analysis.uses import (
    WRITTEN,
    caches,
    feeds,
    looked_up_rows,
    reaches_rotation,
)
from onnx_passes.ir.graph import GraphError, dim, rank
from onnx_passes.ir.infer import infer

Inputs = dict[str, ir.Value]
_KEY = "pocket_roles"
# Inputs that count what is cached, where a cache has a fixed size, by what reads them: the place to
# write at, and how many tokens there are then.
_COUNTS = ((WRITTEN, 2), ("Attention", 6))
_POSITION = "position"  # in the names of inputs that say where tokens stand
_TOKEN_NAMES = ("input_ids", "tokens", "token_ids")


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
    written: str | None = None  # where new tokens are written [batch]: behind what is cached
    lengths: str | None = None  # how many tokens are in the cache then [batch]
    places: str | None = None  # where in the cache new tokens stand [seq], padding included


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


def find_roles(model: ir.Model) -> Roles:
    """Assign a role to every input and output of a decoder, or raise RoleError naming the odd."""
    graph = model.graph
    inputs = {value.name: value for value in graph.inputs if value.name}
    cache = tuple((found.past, found.present) for found in caches(graph))
    presents = {present for _, present in cache}
    logits = [o for o in graph.outputs if o.name and o.name not in presents]
    tokens = _tokens(model, inputs, logits)
    rest = {n: v for n, v in inputs.items() if n not in {tokens, *(past for past, _ in cache)}}
    counts = _counts(rest)
    masks, positions = _masks_and_positions({n: v for n, v in rest.items() if n not in counts})
    _refuse_extra("input", masks[1:] + positions[1:])
    _refuse_extra("output", [value.name or "" for value in logits[1:]])
    if not logits:
        raise RoleError(
            "the model has no logits",
            "every output is a cache",
            "export the language-model head too",
        )
    found = _first(masks), _first(positions)
    return Roles(tokens, logits[0].name or "", *found, cache, *counts)


def _counts(inputs: Inputs) -> tuple[str | None, str | None, str | None]:
    """Of the inputs that count what is cached: the place to write at, the tokens, their places."""
    written, lengths = ([n for n, v in inputs.items() if feeds(v, *where)] for where in _COUNTS)
    places = [n for n, v in inputs.items() if rank(v) == 1 and _says_position(v)]
    places = [name for name in places if name not in written + lengths]
    return _first(written), _first(lengths), _first(places)


def _masks_and_positions(inputs: Inputs) -> tuple[list[str], list[str]]:
    positions = [name for name in inputs if _is_positions(inputs[name])]
    masks = [name for name in inputs if name not in positions]
    if not positions and len(masks) > 1:  # they may be compared only: a name tells
        positions = [name for name in masks if _POSITION in name][:1]
        masks = [name for name in masks if name not in positions]
    return masks, positions


def _first(names: list[str]) -> str | None:
    return names[0] if names else None


def _is_positions(value: ir.Value) -> bool:
    """Whether the value becomes an angle, or looks up learned positions, perhaps with an offset."""
    return reaches_rotation(value) or bool(looked_up_rows(value, ("Add", "Sub")))


def _says_position(value: ir.Value) -> bool:
    """The same of what may also be compared only, where its name says so."""
    return _POSITION in (value.name or "") or _is_positions(value)


def _tokens(model: ir.Model, inputs: Inputs, logits: list[ir.Value]) -> str:
    """The input whose table has a row for each logit; of several, the one of the usual name."""
    rows = {name: looked_up_rows(value) for name, value in inputs.items()}
    found = [name for name in inputs if rows[name]]
    if len(found) > 1 and logits:
        infer(model)  # the width of the logits, whatever the file declares
        width = dim(logits[0], -1)
        found = [name for name in found if width in rows[name]] or found
    if not found:  # it may be clipped or masked first
        found = [name for name in inputs if name in _TOKEN_NAMES and not _is_float(inputs[name])]
    if len(found) > 1:
        found = [name for name in found if name in _TOKEN_NAMES] or found
    if len(found) != 1:
        raise _no_tokens(inputs, found)
    return found[0]


def _no_tokens(inputs: Inputs, found: list[str]) -> RoleError:
    embedded = next((name for name, x in inputs.items() if rank(x) == 3 and _is_float(x)), None)
    because = f"inputs: {', '.join(inputs)}; "
    hint = "export a decoder with its embedding, for example by optimum's text-generation-with-past"
    if found:
        because += f"looked up: {', '.join(found)}"
    elif embedded:
        because += f"{embedded!r} takes what another file of the exporter looks up"
        hint = (
            "put that file (embed_tokens.onnx, embedding.onnx) beside the model, or export the "
            "decoder as one graph that takes token ids, with its embedding (GenAI's builder: "
            "without exclude_embeds)"
        )
    else:
        because += "none indexes a table"
    return RoleError(
        f"{'more than one' if found else 'no'} input of the model is a sequence of token ids",
        because,
        hint,
    )


def _is_float(value: ir.Value) -> bool:
    return value.dtype is not None and value.dtype.is_floating_point()


def _refuse_extra(kind: str, names: list[str]) -> None:
    if names:
        raise RoleError(
            f"no role for the {kind} {names[0]!r}",
            "a decoder has tokens, a mask, positions, caches and logits; this is one more",
            "export without it (hidden states, attentions, labels, adapters are not supported)",
        )
