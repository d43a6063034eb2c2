"""Generates several texts side by side with a plan that was compiled with --batch N."""

from collections.abc import Collection, Generator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.arguments import id_set, path_of, token_ids, whole
from toolkit.errors import PocketError
from toolkit.executors.batch.interface import BatchExecutor, left_padded
from toolkit.executors.batch.open import open_batch
from toolkit.executors.interface import StopReason
from toolkit.executors.sampling import Sampling, checked_sampling
from toolkit.executors.text_checks import check_tokens
from toolkit.generation.tokenizer import Tokenizer, load_tokenizer

Prompt = str | Sequence[int] | npt.NDArray[np.integer[Any]]
PROMPT = "a prompt: a text, or token ids"


class BatchSession:
    """Continues up to N prompts at once; each `generate` begins new texts.

    After it, `stop_reasons` says of each prompt why its text ended.
    """

    def __init__(self, plan: Any, on: str = "runner", **options: Any) -> None:
        """`plan` is a folder, or what `toolkit.compile(…, batch=N)` returned."""
        plan = getattr(plan, "path", plan)
        self.path = path_of(plan, "a plan", 'toolkit.BatchSession("llama.plan")')
        self.executor: BatchExecutor = open_batch(self.path, on, **options)
        self.model = self.executor.plan.model
        self.batch = int(self.model["batch"])
        self.stop_reasons: list[StopReason] = []
        self._tokenizer: Tokenizer | None = None

    def generate(
        self,
        prompts: Sequence[Prompt],
        max_new_tokens: int = 128,
        stop: Collection[int] | None = None,
        sampling: Sampling | None = None,
    ) -> Generator[list[int | None], None, None]:
        """Yield lists with the next id of each prompt, or None where its text has ended.

        prompts   1 to N texts, or lists of token ids, of any lengths: shorter ones are padded on
                  the left, so that the longest and its new ids must fit into the context
        stop      ids that end a text, yielded as its last; by default the model's own
        sampling  how ids are chosen; by default greedily
        """
        texts = [self._ids(prompt) for prompt in prompts]
        if not 1 <= len(texts) <= self.batch:
            because = f"the plan was compiled for {self.batch} texts"
            hint = f"1 to {self.batch} prompts, or compile with --batch {max(len(texts), 1)}"
            raise PocketError(f"{len(texts)} prompts can't be run at once", because, hint)
        for text in texts:
            check_tokens(self.executor.plan, text, 0)
        limit = whole("max_new_tokens", max_new_tokens)
        stops = id_set(self.model.get("eos", ()) if stop is None else stop)
        return self._generate(texts, limit, stops, checked_sampling(sampling))

    def encode(self, text: str) -> list[int]:
        """The ids of a prompt."""
        return self._needed_tokenizer("read text").encode(text)

    def decode(self, ids: Sequence[int | None]) -> str:
        """The text of ids, special tokens and None left out."""
        kept = [token for token in ids if token is not None]
        return self._needed_tokenizer("write text").decode(kept)

    def close(self) -> None:
        """Free the device's memory."""
        self.executor.close()

    def __enter__(self) -> "BatchSession":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _generate(
        self, texts: list[list[int]], limit: int, stops: frozenset[int], sampling: Sampling
    ) -> Generator[list[int | None], None, None]:
        count = len(texts)
        self.stop_reasons = ["cancel"] * count  # stays where the caller closes the generator
        # Rows of the batch that nobody asked for repeat the first prompt.
        rows, start = left_padded([*texts, *[texts[0]] * (self.batch - count)])
        self.executor.begin(start)
        self.executor.configure(sampling)
        running, past = set(range(count)), rows.shape[1]
        ids = self.executor.prefill(rows, 0)
        for done in range(1, limit + 1):
            yield [int(ids[row]) if row in running else None for row in range(count)]
            ended = {row for row in running if int(ids[row]) in stops}
            self._note(ended, "eos")
            running -= ended
            if not running or done == limit or past == int(self.model["max_context"]):
                break
            ids, past = self.executor.step(ids, past), past + 1
        self._note(running, "length" if done == limit else "context")

    def _note(self, rows: Collection[int], reason: StopReason) -> None:
        for row in rows:
            self.stop_reasons[row] = reason

    def _ids(self, prompt: Prompt) -> list[int]:
        return self.encode(prompt) if isinstance(prompt, str) else token_ids(prompt, PROMPT)

    def _needed_tokenizer(self, purpose: str) -> Tokenizer:
        self._tokenizer = self._tokenizer or load_tokenizer(self.path, self.model)
        if self._tokenizer is None:
            raise PocketError(
                f"this plan can't {purpose}",
                "no tokenizer.json came with its model",
                "put tokenizer.json beside the model and compile again, or use token ids",
            )
        return self._tokenizer
