"""What a plan and a text must be so that an executor can run them; checked before a run.

The runner checks the same (android_runner/session/text_checks.h).
"""

from collections.abc import Iterator, Sequence

from toolkit.errors import PocketError
from toolkit.executors.sampling import Sampling
from toolkit.plan.phase_choice import pieces
from toolkit.plan.reader import RECOMPILE
from toolkit.plan.schema import Plan

NOT_NUMBERS = "are not numbers"  # ends the error for such logits, here and in the runner


def check_one_text(plan: Plan) -> None:
    """Raise unless the plan is of one text."""
    kind, batch = plan.model.get("kind"), plan.model.get("batch")
    if kind != "language-model" or batch != 1:
        raise PocketError(
            f"the plan is a {kind} of batch {batch}",
            "this runs one text at a time",
            "toolkit.BatchSession runs several; or compile with --batch 1",
        )


def check_states(plan: Plan) -> None:
    """Raise where a state is of a kind that no executor can run.

    What was appended beyond the text is simply written again. Any other state would be left as the
    steps made it that ran ahead of the last id, after a stop, a rewind or at a new text.
    """
    for state in plan.states:
        if state.update != "append":
            raise PocketError(
                f"the state {plan.buffers[state.buffer].name} can't be run",
                f"its update is '{state.update}': steps run ahead of the ids, and only what is "
                "appended can be taken back",
                "a model whose states are appended to, as a KV cache is",
            )


def can_sample(plan: Plan, sampling: Sampling) -> bool:
    """False for a plan that knows only greedy ids, where no more is asked of it."""
    if any(buffer.name == "sampling" for buffer in plan.buffers):
        return True
    if sampling == Sampling():
        return False
    raise PocketError(
        "this plan can only choose the likeliest id", "it has no buffer 'sampling'", RECOMPILE
    )


def check_positions(plan: Plan, start: int, stop: int) -> None:
    """Raise unless ids can have been chosen for these positions."""
    context = int(plan.model["max_context"])
    if not 0 <= start <= stop <= context + 1:
        because = f"the plan has positions 0 to {context}"
        raise PocketError(f"there are no positions {start} to {stop}", because)


def check_tokens(plan: Plan, ids: Sequence[int], past: int) -> None:
    """Raise unless these ids can be fed at this position."""
    context = int(plan.model["max_context"])
    if not ids:
        raise PocketError("no tokens to run", "the list of ids is empty", "give at least one id")
    check_vocabulary(plan, ids)
    if past < 0 or past + len(ids) > context:
        raise context_error(past, len(ids), context)


def check_expected(plan: Plan, tokens: int) -> int:
    """The number of tokens that a text will have; raises where it cannot."""
    context = int(plan.model["max_context"])
    if not 0 <= tokens <= context:
        raise PocketError(
            f"a text cannot have {tokens} tokens",
            f"the plan was compiled for {context}",
            f"0 for not known, or compile with --max-context {max(tokens, 1)}",
        )
    return tokens


def check_vocabulary(plan: Plan, ids: Sequence[int]) -> None:
    """Raise unless the model knows these ids."""
    vocab = int(plan.model["vocab_size"])
    for position, token in enumerate(ids):
        if not 0 <= token < vocab:
            raise PocketError(
                f"token id {token} at position {position} is out of range",
                f"the model's vocabulary has ids 0 to {vocab - 1}",
                "use the tokenizer that belongs to this model",
            )


def context_error(past: int, count: int, context: int) -> PocketError:
    """The error for tokens that don't fit after `past`."""
    return PocketError(
        f"{count} tokens at position {past} don't fit into the context",
        f"the plan was compiled for {context} positions",
        f"a shorter text, or compile with --max-context {max(past, 0) + count}",
    )


def chunks(
    plan: Plan, ids: Sequence[int], past: int, gives: str = "ids"
) -> Iterator[tuple[Sequence[int], int]]:
    """Split ids into what the phases that give a buffer take at a time: (ids, their position)."""
    start = 0
    for size in pieces(plan, len(ids), gives):
        yield ids[start : start + size], past + start
        start += size
    if start < len(ids):
        because = "none of them fetches it"
        raise PocketError(f"the plan has no phase that gives {gives}", because, RECOMPILE)


def checked_id(token: int, past: int) -> int:
    """The id that the device chose; -1 there means that the logits were no numbers."""
    if token < 0:
        raise PocketError(
            f"the logits at position {past} {NOT_NUMBERS}",
            "the model computed NaN or infinity there",
            "pocketcl verify PLAN; an f16 model may need --weights f32",
        )
    return token
