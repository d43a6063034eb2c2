"""Generates text with a plan; tracks what the KV cache holds, so that only new ids are fed."""

import time
from collections.abc import Collection, Generator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.arguments import id_set, path_of, text_of, token_ids, whole
from toolkit.errors import PocketError
from toolkit.executors.interface import Executor, StopReason
from toolkit.executors.open import open_executor
from toolkit.executors.sampling import Sampling, checked_sampling
from toolkit.executors.text_checks import check_expected, check_tokens, check_vocabulary, chunks
from toolkit.generation.stop_strings import StopStrings, check_stop_strings
from toolkit.generation.tokenizer import Tokenizer, load_tokenizer
from toolkit.plan.state_file import read_note

TEXT_LENGTH = "text_length"  # symbol of plans in which something depends on it
NOTHING: Mapping[str, Any] = MappingProxyType({})
PROMPT = "a prompt: a text, or token ids"


class Session:
    """Continues `history`, of which the KV cache holds the first `past` ids.

    After `generate`, `stop_reason`, `prefill_s` and `decode_s` describe the last run, and `fed` is
    how many ids it had to prefill; `stop_string` is the one that ended it, or None, and `tail` the
    text between the last id and that string.
    """

    def __init__(self, plan: Any, on: str = "runner", text_length: int = 0, **options: Any) -> None:
        """`plan` is a folder, or what `toolkit.compile` returned.

        text_length  tokens that the text will have, where that is known. Models that have other
                     rotary tables for texts beyond some length (LongRoPE) use these from the start;
                     else from the call on with which the text passes it
        """
        plan = getattr(plan, "path", plan)
        self.path = path = path_of(plan, "a plan", 'toolkit.Session("llama.plan")')
        self.executor: Executor = open_executor(path, on, **options)
        self.model: Mapping[str, Any] = self.executor.plan.model
        self.text_length = whole("text_length", text_length, least=0)
        check_expected(self.executor.plan, self.text_length)
        self.history: list[int] = []  # the last id generated is not in the cache yet
        self.past = self.fed = 0
        self.stop_reason: StopReason = "length"
        self.prefill_s = self.decode_s = 0.0
        self.stop_string: str | None = None
        self.tail = ""
        self._interrupted = False
        self._first = 0  # position of the last run's first new id
        self._tokenizer: Tokenizer | None = None

    def generate(
        self,
        prompt: str | Sequence[int] | npt.NDArray[np.integer[Any]],
        max_new_tokens: int = 128,
        stop: Collection[int] | None = None,
        sampling: Sampling | None = None,
        stop_strings: Sequence[str] = (),
    ) -> Generator[int, None, None]:
        """Feed a prompt after what the session holds and yield new ids, a stop id included.

        prompt        a text, as `encode` takes it, or token ids
        stop          ids that end the text; by default the model's own end-of-text ids
        sampling      how ids are chosen; by default greedily
        stop_strings  end the text before them: an id is yielded once it can't be part of one any
                      more, and ids generated beyond the last one are forgotten
        """
        fresh = self.encode(prompt) if isinstance(prompt, str) else token_ids(prompt, PROMPT)
        ids = [*self.history[self.past :], *fresh]
        check_tokens(self.executor.plan, ids, self.past)
        limit = whole("max_new_tokens", max_new_tokens)
        stops = id_set(self.model.get("eos", ()) if stop is None else stop)
        strings = check_stop_strings(stop_strings)
        tokens = self._generate(ids, limit, stops, checked_sampling(sampling))
        self._interrupted = False
        if not strings:
            return tokens
        tokenizer = self._needed_tokenizer("look for stop strings", "stop at ids")
        stream = tokenizer.stream([*self.history[: self.past], *ids])
        return self._before(tokens, StopStrings(stream, strings), stops)

    def encode(self, text: str) -> list[int]:
        """The ids of a text as `pocketcl run` feeds them.

        Special tokens that the model expects around a text are added only at its beginning.
        """
        tokenizer = self._needed_tokenizer("read text", "give token ids")
        return tokenizer.encode(text_of(text, "a text"), special=not self.history)

    def decode(self, ids: Sequence[int] | npt.NDArray[np.integer[Any]]) -> str:
        """The text of ids, special tokens left out."""
        fresh = token_ids(ids)
        check_vocabulary(self.executor.plan, fresh)
        return self._needed_tokenizer("write text", "take the ids as they are").decode(fresh)

    def logprobs(self) -> npt.NDArray[np.float32]:
        """Log probabilities of the last run's ids, if its sampling asked for them."""
        return self.executor.logprobs(self._first, max(self._first, len(self.history)))

    def score(self, ids: Sequence[int] | npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float32]:
        """Feed `ids` and return the logits [len(ids), V] of each."""
        fresh = token_ids(ids)
        self._expect(len(self.history) + len(fresh))
        logits = self.executor.score([*self.history[self.past :], *fresh], self.past)
        self.history += fresh
        self.past = len(self.history)
        return logits[-len(fresh) :]

    def run(self, inputs: Mapping[str, Any]) -> dict[str, npt.NDArray[np.float32]]:
        """Feed {"tokens": ids} after what the session holds; return {"logits": [len(ids), V]}."""
        if not isinstance(inputs, Mapping) or set(inputs) != {"tokens"}:
            given = sorted(map(str, inputs)) if isinstance(inputs, Mapping) else inputs
            raise PocketError(
                f"a language model has no inputs {given!r:.60}",
                "it takes one input, tokens",
                'call session.run({"tokens": [1, 2, 3]})',
            )
        tokens = inputs["tokens"]
        nested = isinstance(tokens, list) and len(tokens) == 1 and isinstance(tokens[0], list)
        return {"logits": self.score(tokens[0] if nested else tokens)}

    def reset(self) -> None:
        """Forget the text: positions start again at 0; no memory is freed or cleared."""
        self.rewind(0)

    def rewind(self, position: int) -> None:
        """Keep only the first `position` ids of the text.

        This costs nothing unless states are rings, which overwrite what lies too far back: then
        the text that is left is fed again with the next ids.
        """
        del self.history[whole("position", position, least=0) :]
        self.past = min(self.past, len(self.history))
        if not self.executor.history.holds(self.past):
            self.past = 0

    def resume(self, ids: Sequence[int]) -> list[int]:
        """Rewind to what the text has in common with `ids`; return the rest, for `generate`."""
        ids, same = token_ids(ids), 0
        while same < min(len(ids), len(self.history)) and ids[same] == self.history[same]:
            same += 1
        if same == len(ids) and same <= self.past:  # feed one again, for its logits
            same = max(0, same - 1)
        self.rewind(same)
        return ids[same:]

    def interrupt(self) -> None:
        """Make `generate` end before its next id, or the next chunk of its prompt."""
        self._interrupted = True

    def save_state(self, path: Path, note: Mapping[str, Any] = NOTHING) -> None:
        """Write text and KV cache to a file; `note` is any data that `load_state` returns."""
        rest = self.history[self.past :]
        if rest and len(self.history) <= int(self.model["max_context"]):
            self._expect(len(self.history))
            self.executor.prefill(rest, self.past)
            self.past = len(self.history)
        self.executor.save_state(path, self.past, note)

    def load_state(self, path: Path) -> dict[str, Any]:
        """Load text and KV cache from a state file of this plan; return its note."""
        past = self.executor.load_state(path)
        self.history, self.past = self.executor.history.first(past), past
        return read_note(path)

    def stats(self) -> dict[str, Any]:
        """The executor's figures."""
        return self.executor.stats()

    def close(self) -> None:
        """Free the device's memory."""
        self.executor.close()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _expect(self, tokens: int) -> None:
        """The text will have as many tokens as the session was opened for, or these at least."""
        if any(symbol.name == TEXT_LENGTH for symbol in self.executor.plan.symbols):
            self.executor.expect(max(self.text_length, tokens))

    def _needed_tokenizer(self, purpose: str, otherwise: str) -> Tokenizer:
        """The tokenizer; raises if the plan has none and `purpose` needs it."""
        self._tokenizer = self._tokenizer or load_tokenizer(self.path, self.model)
        if self._tokenizer is None:
            raise PocketError(
                f"this plan can't {purpose}",
                "no tokenizer.json came with its model",
                f"put tokenizer.json beside the model and compile again, or {otherwise}",
            )
        return self._tokenizer

    def _before(
        self, tokens: Generator[int, None, None], strings: StopStrings, stops: frozenset[int]
    ) -> Generator[int, None, None]:
        """The ids before the first stop string; the session forgets the others."""
        given_out = 0
        try:
            for token in tokens:
                ended = token in stops
                for safe in [*strings.flush(), token] if ended else strings.push(token):
                    given_out += 1
                    yield safe
                if strings.found is not None:
                    self.stop_reason, self.stop_string = "eos", strings.found
                    self.tail = strings.tail
                    break
            else:
                for safe in strings.flush():
                    given_out += 1
                    yield safe
        finally:
            tokens.close()
            if len(self.history) > self._first + given_out:
                self.rewind(self._first + given_out)

    def _generate(
        self, ids: list[int], limit: int, stops: frozenset[int], sampling: Sampling
    ) -> Generator[int, None, None]:
        self.stop_reason, self.decode_s = "cancel", 0.0  # stays if the caller closes the generator
        self.stop_string, self.tail, self._first = None, "", self.past + len(ids)
        self.executor.configure(sampling)
        self._expect(self.past + len(ids))
        self.fed, started = len(ids), time.perf_counter()
        for part, at in chunks(self.executor.plan, ids, self.past):
            token = self.executor.prefill(part, at)
            self.history[at:], self.past = part, at + len(part)
            self.prefill_s = time.perf_counter() - started
            if self._interrupted:
                return
        self.history.append(token)
        yield token
        if token in stops or limit == 1:
            self.stop_reason = "eos" if token in stops else "length"
            return
        yield from self._decode(token, limit - 1, stops)

    def _decode(self, token: int, count: int, stops: frozenset[int]) -> Generator[int, None, None]:
        if self.past >= int(self.model["max_context"]):
            self.stop_reason = "context"
            return
        started = time.perf_counter()
        steps = self.executor.decode(token, self.past, count, stops)
        try:
            for token in steps:
                self.history.append(token)
                self.past += 1
                self.decode_s = time.perf_counter() - started
                yield token
                if self._interrupted:
                    return
            self.stop_reason = self.executor.stop_reason
        finally:
            steps.close()
