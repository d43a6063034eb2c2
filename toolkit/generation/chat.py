"""A conversation with a plan: its turns, and the text that they make.

Every turn renders the whole conversation and feeds only what the KV cache doesn't hold yet. So a
change anywhere in it (undo, edit, another system message) needs no code of its own.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from toolkit.errors import PocketError
from toolkit.generation.chat_template import ChatTemplate, special_tokens
from toolkit.generation.length_note import length_note
from toolkit.generation.session import Session
from toolkit.generation.tokenizer import Tokenizer, load_tokenizer

NOTE = "chat"  # the key of a state file's note
Emit = Callable[[str], None]


@dataclass(frozen=True)
class Turn:
    """A message and its answer."""

    user: str
    answer: str


@dataclass(frozen=True)
class Reply:
    """An answer; of the ids before it `reused` were in the cache and `fed` were prefilled."""

    text: str
    ids: list[int]
    stop: str
    reused: int
    fed: int
    prefill_s: float
    decode_s: float


class Chat:
    """A conversation; a turn that fails or is refused leaves it as it was."""

    def __init__(
        self,
        session: Session,
        plan: Path,
        template: ChatTemplate | None,
        system: str = "",
        max_new_tokens: int = 512,
        generation: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Without a `template` the text is continued as it is; `generation` is for generate()."""
        self.session, self.template = session, template
        self.tokenizer, self.plan = needed_tokenizer(plan, session.model), plan
        self.turns: list[Turn] = []
        self.system, self.limit, self.generation = system, max_new_tokens, generation
        self.stops = stop_ids(self.tokenizer, plan, session.model)
        self.last: Reply | None = None

    @property
    def context(self) -> int:
        """Tokens that the plan can hold."""
        return int(self.session.model["max_context"])

    def ask(self, user: str, emit: Emit, keep: int | None = None) -> Reply:
        """Answer `user` after the first `keep` turns (default: all); `emit` gets the text."""
        turns = self.turns[:keep]
        ids = self.ids([*turns, Turn(user, "")])
        if len(ids) > self.context:
            raise PocketError(
                "the conversation does not fit any more",
                f"with this message it has {len(ids)} tokens, the context holds {self.context}",
                "forget the oldest turn with /drop, or all of them with /reset",
            )
        reply = self._answer(ids, emit)
        self.turns, self.last = turns, reply
        if reply.ids or reply.stop != "cancel":
            self.turns.append(Turn(user, reply.text))
        return reply

    def ids(self, turns: Sequence[Turn]) -> list[int]:
        """The ids of a conversation; if the last answer is empty, up to where it begins."""
        if self.template is None:
            return self.tokenizer.encode(_plain(self.system, turns))
        messages = [{"role": "system", "content": self.system}] if self.system else []
        for turn in turns:
            messages.append({"role": "user", "content": turn.user})
            messages.append({"role": "assistant", "content": turn.answer})
        if turns and not turns[-1].answer:
            messages.pop()
        return self.tokenizer.encode(self.template.render(messages), special=False)

    def undo(self) -> Turn:
        """Take the last turn back."""
        if not self.turns:
            raise PocketError(
                "there is no turn to take back", "nothing was said", "write a message"
            )
        return self.turns.pop()

    def drop(self) -> Turn:
        """Forget the oldest turn."""
        if not self.turns:
            raise PocketError("there is no turn to drop", "nothing was said", "shorten the message")
        return self.turns.pop(0)

    def reset(self) -> None:
        """Forget everything but the system message."""
        self.turns = []
        self.session.reset()

    def set_system(self, text: str) -> None:
        """Replace the system message of the whole conversation; keep the old one on errors."""
        old, self.system = self.system, text
        try:
            self.ids([*self.turns, Turn("…", "")])
        except PocketError:
            self.system = old
            raise

    def save(self, path: Path) -> None:
        """Write the conversation and its KV cache to a file."""
        turns = [[turn.user, turn.answer] for turn in self.turns]
        self.session.save_state(path, {NOTE: {"system": self.system, "turns": turns}})

    def load(self, path: Path) -> None:
        """Load the conversation of a file; from one without a conversation only its KV cache."""
        found = self.session.load_state(path).get(NOTE, {"system": self.system, "turns": []})
        try:
            turns = [Turn(str(user), str(answer)) for user, answer in found["turns"]]
            self.system, self.turns = str(found["system"]), turns
        except (KeyError, TypeError, ValueError):
            because = "its note is not in the form that /save writes"
            hint = "load a file that /save has written"
            raise PocketError(f"{path} holds no conversation", because, hint) from None

    def stats(self) -> dict[str, Any]:
        """Length of the conversation, figures of the last answer and of the executor."""
        last = self.last
        found: dict[str, Any] = {"turns": len(self.turns), "context": self.context}
        found |= {"held": self.session.past, "device": self.session.executor.device.label}
        if last:
            found |= {"reused": last.reused, "fed": last.fed, "new": len(last.ids)}
            found |= {"prefill_s": last.prefill_s, "decode_s": last.decode_s, "stop": last.stop}
        return found | {"peak_rss_bytes": self.session.stats().get("peak_rss_bytes", 0)}

    def close(self) -> None:
        """End the template's process."""
        if self.template:
            self.template.close()

    def _answer(self, ids: list[int], emit: Emit) -> Reply:
        session = self.session
        new: list[int] = []
        pieces: list[str] = []
        stream = self.tokenizer.stream(ids)
        rest = session.resume(ids)  # what the KV cache does not hold
        if note := length_note(session, len(rest), self.limit):
            print(note, file=sys.stderr)

        def give(piece: str) -> None:
            if piece:
                pieces.append(piece)
                emit(piece)

        tokens = session.generate(rest, self.limit, self.stops, **self.generation)
        with ctrl_c(session):
            for token in tokens:
                new.append(token)
                if token not in self.stops:
                    give(stream.push(token))
        give(stream.flush() + session.tail)
        times = session.prefill_s, session.decode_s
        reused = len(ids) - session.fed
        return Reply("".join(pieces), new, session.stop_reason, reused, session.fed, *times)


@contextmanager
def ctrl_c(session: Session) -> Iterator[None]:
    """Ctrl-C ends the answer and nothing else; pressed three times, it ends the program."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = 0

    def stop(*_: object) -> None:
        nonlocal pressed
        pressed += 1
        session.interrupt()
        if pressed == 3:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def needed_tokenizer(plan: Path, model: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer of a plan; raises if there is none."""
    tokenizer = load_tokenizer(plan, model)
    if tokenizer is None:
        raise PocketError(
            "this plan can't read text",
            "no tokenizer.json came with its model",
            "put tokenizer.json beside the model and compile again, or use `run --ids`",
        )
    return tokenizer


def stop_ids(tokenizer: Tokenizer, plan: Path, model: Mapping[str, Any]) -> frozenset[int]:
    """Ids that end an answer: the model's, and the tokenizer's eos_token, which may differ."""
    own = tokenizer.backend.token_to_id(special_tokens(plan).get("eos_token", ""))
    return frozenset(model.get("eos", ())) | (frozenset() if own is None else {own})


def _plain(system: str, turns: Sequence[Turn]) -> str:
    """The conversation as plain text, each message on a line of its own."""
    text = system
    for turn in turns:
        text += ("\n" if text and not text.endswith("\n") else "") + turn.user + turn.answer
    return text
