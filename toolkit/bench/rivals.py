"""Other engines on the plan's own model: `bench --compare`."""

import importlib
import importlib.util
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from toolkit.bench.trials import Trial, figures_of
from toolkit.errors import PocketError
from toolkit.plan.schema import Plan


class Rival(Protocol):
    """A contestant that says how it was run."""

    name: str
    version: str
    threads: int

    def logits_rows(self, prompt: Sequence[int]) -> int:
        """Rows of logits that a prefill computes."""

    def start(self, prompt: Sequence[int]) -> int:
        """See Contestant."""

    def decode(self, token: int, count: int) -> Iterator[int]:
        """See Contestant."""


class OnnxRuntime:
    """ONNX Runtime on the source model, its KV cache bound from run to run."""

    name = "onnxruntime"

    def __init__(self, plan: Plan, threads: int) -> None:
        import onnxruntime

        from toolkit.bench.bound import Bound
        from toolkit.evaluation.inputs import source_of

        self.version, self.threads = onnxruntime.__version__, threads
        self.reference = Bound.original(source_of(plan, None), threads)

    def logits_rows(self, prompt: Sequence[int]) -> int:
        """As many as tokens, unless the export keeps only the last."""
        self.reference.reset()
        return len(self.reference.feed(list(prompt)))

    def start(self, prompt: Sequence[int]) -> int:
        """Feed a prompt to an empty cache."""
        self.reference.reset()
        return int(np.argmax(self.reference.feed(list(prompt))[-1]))

    def decode(self, token: int, count: int) -> Iterator[int]:
        """One run a token."""
        for _ in range(count):
            token = int(np.argmax(self.reference.feed([token])[-1]))
            yield token


class GenAi:
    """ONNX Runtime GenAI on the source model's folder, greedy, with its own token loop."""

    name = "onnxruntime-genai"

    def __init__(self, plan: Plan, threads: int) -> None:
        from toolkit.evaluation.inputs import source_of

        if not importlib.util.find_spec("onnxruntime_genai"):
            raise PocketError(
                "onnxruntime-genai is not installed",
                "--compare onnxruntime-genai needs it",
                "pip install onnxruntime-genai",
            )
        # the package and a folder of its own model builder
        self.og: Any = importlib.import_module("onnxruntime_genai")
        self.version, self.threads = self.og.__version__, threads
        folder = source_of(plan, None).folder
        if not (folder / "genai_config.json").is_file():
            raise PocketError(
                f"{folder} has no genai_config.json",
                "ONNX Runtime GenAI only runs what its own model builder wrote",
                "use --compare onnxruntime",
            )
        # the model, with as many threads as asked for
        self.context = min(int(plan.model["max_context"]), _context(folder))
        options = {"session_options": {"intra_op_num_threads": threads}}
        with self._refusals(f"load {folder}"):
            config = self.og.Config(str(folder))
            config.overlay(json.dumps({"model": {"decoder": options}}))
            self.model: Any = self.og.Model(config)
        self.generator: Any = None

    def logits_rows(self, prompt: Sequence[int]) -> int:
        """One if the model was built with prune_lm_head, else as many as tokens."""
        self.start(prompt)
        return int(self.generator.get_output("logits").shape[1])

    def start(self, prompt: Sequence[int]) -> int:
        """Rewind the generator and feed it a prompt."""
        with self._refusals("feed a prompt"):
            self._feed(prompt)
        return self._next()

    def _feed(self, prompt: Sequence[int]) -> None:
        if self.generator is None:
            params = self.og.GeneratorParams(self.model)
            # min_length: an end-of-text id must not stop a benchmark.
            limits = {"max_length": self.context, "min_length": self.context}
            params.set_search_options(do_sample=False, **limits)
            self.generator = self.og.Generator(self.model, params)
        else:
            self.generator.rewind_to(0)
        self.generator.append_tokens(np.array(prompt, np.int32))

    def decode(self, token: int, count: int) -> Iterator[int]:
        """Next ids; the generator feeds its last one itself, so `token` is not used."""
        for _ in range(count):
            yield self._next()

    def _next(self) -> int:
        with self._refusals("decode"):
            self.generator.generate_next_token()
        return int(self.generator.get_next_tokens()[0])

    def _refusals(self, what: str) -> AbstractContextManager[None]:
        from toolkit.onnx_runtime import refusals

        return refusals(f"ONNX Runtime GenAI {self.version} cannot {what}")


RIVALS: dict[str, Callable[[Plan, int], Rival]] = {r.name: r for r in (OnnxRuntime, GenAi)}


def open_rivals(names: Sequence[str], plan: Plan, threads: int) -> list[Rival]:
    """The rivals by their names, each with as many threads as the device has compute units."""
    return [RIVALS[name](plan, threads) for name in dict.fromkeys(names)]


def comparison(
    rival: Rival,
    ours: list[list[Trial]],
    theirs: list[list[Trial]],
    prompts: Sequence[Sequence[int]],
) -> dict[str, Any]:
    """Our rate over the rival's, of each pair of neighbouring trials."""
    lengths = [len(prompt) for prompt in prompts]
    rows = rival.logits_rows(prompts[-1])
    prefill = [
        {"tokens": length, **_pairs([t.prefill_s for t in a], [t.prefill_s for t in b], length)}
        for length, a, b in zip(lengths, ours, theirs, strict=True)
    ]
    our_decode = [trial.decode_s or 0.0 for trial in ours[-1]]
    their_decode = [trial.decode_s or 0.0 for trial in theirs[-1]]
    same = [a.ids == b.ids for a, b in zip(ours[-1], theirs[-1], strict=True)]
    return {
        "rival": rival.name,
        "version": rival.version,
        "threads": rival.threads,
        "logits_rows": {"ours": 1, "rival": rows},
        "equal_work": rows == 1,
        "same_ids": all(same),
        "prefill": prefill,
        "decode": {"after": lengths[-1], **_pairs(our_decode, their_decode, 1)},
    }


def comparison_lines(found: dict[str, Any]) -> Iterator[str]:
    """The comparison for people; above 1 we are faster."""
    yield f"against {found['rival']} {found['version']}, {found['threads']} threads, in turn"
    for row in found["prefill"]:
        yield f"  prefill {row['tokens']:<6}{_line(row)}"
    yield f"  decode        {_line(found['decode'])}"
    rows = found["logits_rows"]["rival"]
    work = "the same: logits of the last row" if rows == 1 else f"it computes logits of {rows} rows"
    yield f"  work in prefill: {work}; new ids {'the same' if found['same_ids'] else 'DIFFER'}"


def _line(row: dict[str, Any]) -> str:
    theirs = row["rival"]["tokens_per_s"]
    low, high = row["ratio_range"]
    return f"{row['ratio']:.2f} × ({low:.2f} to {high:.2f})   it: {theirs:,.1f} tokens/s"


def _pairs(ours: Sequence[float], theirs: Sequence[float], tokens: int) -> dict[str, Any]:
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return {
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "ratios": ratios,
        "ours": figures_of(ours, tokens),
        "rival": figures_of(theirs, tokens),
    }


def _context(folder: Path) -> int:
    config = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))
    return int(config["model"].get("context_length", 1 << 30))
