"""A conversation with a plan: it knows what the KV cache holds, so that only new ids are fed."""

import time
from collections.abc import Collection, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.errors import PocketError
from toolkit.executor import Executor, StopReason, check_tokens, open_executor


class Session:
    """Generates greedily; `past` counts the positions in the KV cache.

    After `generate`: `stop_reason`, `prefill_s` and `decode_s` tell of the last run.
    """

    def __init__(self, plan: Any, on: str = "runner", **options: Any) -> None:
        """`plan` is a folder, or what `toolkit.compile` returned."""
        path = Path(getattr(plan, "path", plan))
        self.executor: Executor = open_executor(path, on, **options)
        self.model: Mapping[str, Any] = self.executor.plan.model
        self.past = 0
        self.stop_reason: StopReason = "length"
        self.prefill_s = self.decode_s = 0.0
        self._pending: list[int] = []  # the last id generated: its K and V aren't in the cache yet

    def generate(
        self,
        ids: Sequence[int],
        max_new_tokens: int = 128,
        stop: Collection[int] | None = None,
    ) -> Generator[int, None, None]:
        """Feed `ids` behind what the session holds and yield new ids, a stop id included.

        stop  ids that end the text; by default the model's own end-of-text ids
        """
        ids = [*self._pending, *map(int, ids)]
        check_tokens(self.executor.plan, ids, self.past)
        if max_new_tokens < 1:
            raise PocketError(
                f"max_new_tokens is {max_new_tokens}", "there is nothing to generate", "1 or more"
            )
        stops = frozenset(self.model.get("eos", ()) if stop is None else stop)
        return self._generate(ids, max_new_tokens, stops)

    def score(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Feed `ids` and return the logits [len(ids), V] of each."""
        ids = [*self._pending, *map(int, ids)]
        logits = self.executor.score(ids, self.past)
        self.past, fresh = self.past + len(ids), len(ids) - len(self._pending)
        self._pending = []
        return logits[-fresh:]

    def run(self, inputs: Mapping[str, Any]) -> dict[str, npt.NDArray[np.float32]]:
        """Feed {"tokens": ids} behind what the session holds; return {"logits": [len(ids), V]}."""
        if set(inputs) != {"tokens"}:
            raise PocketError(
                f"a language model has no inputs {sorted(set(inputs) - {'tokens'})}",
                "it takes one input, tokens",
                'session.run({"tokens": [1, 2, 3]})',
            )
        return {"logits": self.score(np.asarray(inputs["tokens"]).reshape(-1).tolist())}

    def reset(self) -> None:
        """Forget the conversation; nothing is freed or cleared, positions start again at 0."""
        self.past, self._pending = 0, []

    def stats(self) -> dict[str, Any]:
        """The executor's figures."""
        return self.executor.stats()

    def close(self) -> None:
        """Give the device's memory back."""
        self.executor.close()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _generate(
        self, ids: list[int], limit: int, stops: frozenset[int]
    ) -> Generator[int, None, None]:
        self.stop_reason, self.decode_s = "cancel", 0.0  # holds when the caller leaves early
        started = time.perf_counter()
        token = self.executor.prefill(ids, self.past)
        self.prefill_s = time.perf_counter() - started
        self._advance(len(ids), token)
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
                self._advance(1, token)
                self.decode_s = time.perf_counter() - started
                yield token
            self.stop_reason = self.executor.stop_reason
        finally:
            steps.close()

    def _advance(self, fed: int, token: int) -> None:
        self.past += fed
        self._pending = [token]
