"""What the two executors of a plan have in common: the interface, and the checks before a run."""

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from toolkit.errors import PocketError
from toolkit.executors.sampling import Sampling
from toolkit.plan.reader import RECOMPILE
from toolkit.plan.schema import Plan

StopReason: TypeAlias = Literal["eos", "length", "context", "cancel"]


class Executor(Protocol):
    """A loaded plan of a language model. The caller's `past` is authoritative: rewinding is free
    as long as `holds` says so.

    Feeding n tokens at `past` fills positions past … past+n-1; past+n may not exceed max_context.
    """

    name: str
    plan: Plan
    load_s: float
    device: str
    stop_reason: StopReason  # why the last decode ended
    reached: int  # positions that the states were filled up to, rewinding or not; see `holds`

    def configure(self, sampling: Sampling) -> None:
        """How ids are chosen from here on; greedily until this is called."""

    def prefill(self, ids: Sequence[int], past: int) -> int:
        """Feed ids, in chunks; return the next id."""

    def step(self, token: int, past: int) -> int:
        """Feed one forced token through the decode phase; return the next id."""

    def decode(
        self, token: int, past: int, count: int, stop: Collection[int]
    ) -> Generator[int, None, None]:
        """Feed `token`, yield the next id, feed it, … at most `count` ids.

        A stop id is yielded, as the last one. Closing the generator cancels. A full context ends
        it (`stop_reason` says so). The device runs one step ahead of the ids: after "eos" and
        "cancel", `logits` may belong to the step behind the last id.
        """

    def logits(self) -> npt.NDArray[np.float32]:
        """Logits [V] of the last position run."""

    def logprobs(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Log-probabilities of ids chosen for these positions, if `configure` asked for them."""

    def score(self, ids: Sequence[int], past: int) -> npt.NDArray[np.float32]:
        """Feed ids, in chunks; return the logits [len(ids), V] of every position."""

    def save_state(self, path: Path, past: int, note: Mapping[str, Any]) -> None:
        """Write the first `past` positions of text and states to a file (plan/state_file.py)."""

    def load_state(self, path: Path) -> int:
        """Take text and states from a file; return its `past`. A refused file changes nothing."""

    def held_ids(self, past: int) -> list[int]:
        """The ids at the first `past` positions."""

    def stats(self) -> dict[str, Any]:
        """Figures: host_us_per_token, peak_rss_bytes, prefill_s, decode_s …"""

    def close(self) -> None:
        """Give the device's memory back (the runner: end the process)."""


def check_states(plan: Plan) -> None:
    """Raise where a state is of a kind that no executor can run.

    What was appended beyond the text is simply written again. Any other state would be left as the
    steps made it that ran ahead of the last id, after a stop, a rewind or at a new text.
    """
    for buffer in plan.buffers:
        if buffer.kind == "state" and buffer.update != "append":
            raise PocketError(
                f"the state {buffer.name} can't be run",
                f"its update is '{buffer.update}': steps run ahead of the ids, and only what is "
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
    """The error for tokens that don't fit behind `past`."""
    return PocketError(
        f"{count} tokens at position {past} don't fit into the context",
        f"the plan was compiled for {context} positions",
        f"a shorter text, or compile with --max-context {max(past, 0) + count}",
    )


def chunks(
    plan: Plan, ids: Sequence[int], past: int, phase: str = "prefill"
) -> Iterator[tuple[Sequence[int], int]]:
    """Split ids into what a phase takes at a time: (ids of the chunk, its position)."""
    size = int(plan.model["prefill_chunk"])
    found = plan.phase(phase)
    size = min(size, found.bounds["seq"][1]) if found and "seq" in found.bounds else size
    for start in range(0, len(ids), size):
        yield ids[start : start + size], past + start


def checked_id(token: int, past: int) -> int:
    """The id that the device chose; -1 there means that the logits were no numbers."""
    if token < 0:
        raise PocketError(
            f"the logits at position {past} are not numbers",
            "the model computed NaN or infinity there",
            "pocketcl verify PLAN; an f16 model may need --weights f32",
        )
    return token
