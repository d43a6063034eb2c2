"""Compare a plan with its model in ONNX Runtime: logits and greedy tokens.

There are two comparisons: with the rewritten graph, whose errors are ours (it decides `ok`), and
with the original model, which adds the errors of rewriting and of storage types. If ONNX Runtime
refuses the original, the second is left out, and the report says why.

Where a router of experts is near a tie, the first comparison judges only what comes before it: see
`judging` and `near_ties`. What a plan chooses of its tables it follows: see `followed`.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from opencl_kernels.layouts import SCALES
from toolkit.errors import PocketError
from toolkit.evaluation.followed import Followed, Trace, agreed, agreement_lines
from toolkit.evaluation.halves import TOKENS, count_halves, half_lines, naming_halves
from toolkit.evaluation.inputs import Logits, Scorer, random_ids, source_of
from toolkit.evaluation.judging import Bar, judge, measure, unjudged, verdict
from toolkit.evaluation.resident import (
    all_resident,
    chooses_by_magnitude,
    predicts,
    resident_of,
)
from toolkit.executors.interface import Executor
from toolkit.plan.schema import Plan

PREFILLS = (1, 2, 7, 64, 65)
DECODE_PROMPT, DECODE_STEPS = 7, 32
PROMPTS = 4  # as many are tried until a near tie leaves enough rows of a case
NMSE_LIMIT = {"f32": 1e-8, "f16": 1e-4}


@dataclass(frozen=True)
class Case:
    """One comparison: the ids that are fed, and which rows of logits are compared."""

    name: str
    prompt: list[int]
    forced: list[int]  # then fed one at a time, whatever the model predicts
    all_rows: bool = False  # score phase: every row; else the last one and those of the decode

    @property
    def first_row(self) -> int:
        """The place in the text of the token whose row is the first."""
        return 0 if self.all_rows else len(self.prompt) - 1


def verify(
    plan_path: Path,
    model: Path | None = None,
    on: str = "runner",
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Compare a plan with its model; keys as in `pocketcl verify --json`."""
    from toolkit.compiler.calibration.reference import Reference
    from toolkit.evaluation.onnxruntime_reference import original_or_why
    from toolkit.executors.open import open_executor
    from toolkit.plan.load import check_hashes, load_plan

    tell = progress or (lambda _: None)
    tell("loading the plan")
    with ExitStack() as closing:
        file = _trace_file(closing, load_plan(plan_path), on, options.get("memory"))
        executor = open_executor(plan_path, on, **options, **({"trace": file} if file else {}))
        closing.callback(executor.close)
        plan = executor.plan
        tell("hashing the plan's files")
        check_hashes(plan_path, plan)
        source = source_of(plan, model)
        tell("loading the model into ONNX Runtime")
        original, refused = original_or_why(source)
        near = resident_of(plan_path, plan, options.get("memory"))
        trace = None if file is None else Trace(plan_path, plan, file)
        of = Reference if trace is None else Followed
        found = compare(plan, executor, of.rewritten(source, plan, near), original, tell, trace)
        return found | {"original_refused": refused}


def _trace_file(closing: ExitStack, plan: Plan, on: str, memory: int | str | None) -> Path | None:
    """Where an executor is to note what it chooses; None: nothing, or not here.

    Where all records lie in memory, a device chooses by thresholds itself.
    """
    by_thresholds = predicts(plan) and not all_resident(plan, memory)
    if on == "phone" or not (chooses_by_magnitude(plan) or by_thresholds):
        return None
    return Path(closing.enter_context(TemporaryDirectory(prefix="pocketcl-"))) / "trace"


def compare(
    plan: Plan,
    executor: Executor,
    rewritten: Scorer,
    original: Scorer | None,
    tell: Callable[[str], None] = lambda _: None,
    trace: Trace | None = None,
) -> dict[str, Any]:
    """Run every case on the plan and on both references, or on the rewritten graph alone.

    trace  of what the plan chooses, which a Followed is to take
    """
    tell(f"counting halves: {executor.name}")
    halves = count_halves(executor, random_ids(plan, min(TOKENS, int(plan.model["max_context"]))))
    bar = Bar(precision(plan), NMSE_LIMIT[precision(plan)])
    rows: dict[str, list[dict[str, Any]]] = {"cases": [], "original": []}
    greedy = greedy_ids(original or rewritten, prompt_of(plan), DECODE_STEPS, plan)
    for case in cases_of(plan, greedy):
        with naming_halves(halves):
            ours, fed, judged = _decided(plan, executor, rewritten, case, bar, tell, trace)
        rows["cases"].append(judged)
        if original is not None:
            tell(f"{case.name}: ONNX Runtime, original")
            figures = measure(ours, run_reference(original, fed))
            rows["original"].append({"name": case.name, **figures})
    # the plan's own greedy ids, by its token loop
    own = greedy_plan(executor, prompt_of(plan), len(greedy))
    return {
        "ok": all(case["ok"] is True for case in rows["cases"]),
        **rows,
        "nmse_limit": bar.limit,
        "precision": bar.precision,
        "original_notes": [] if original is None else original.notes,
        "greedy_match": own == greedy,
        "greedy_tokens": len(greedy),
        "halves": halves,
        "executor": executor.name,
        "device": executor.device.label,
        **executor.target.facts(),
    }


def _decided(
    plan: Plan,
    executor: Executor,
    rewritten: Scorer,
    case: Case,
    bar: Bar,
    tell: Callable[[str], None],
    trace: Trace | None = None,
) -> tuple[Logits, Case, dict[str, Any]]:
    """The plan's logits for a case, with the prompt that was fed, and what they prove.

    Where a near tie leaves too few rows, other prompts are tried: a plan that computes its model
    decides one of them soon, another none.
    """
    for seed in range(PROMPTS):
        fed = replace(case, prompt=random_ids(plan, len(case.prompt), seed))
        tell(f"{case.name}: {executor.name}")
        if trace is not None:
            trace.begin()
        ours = run_plan(executor, fed)
        tell(f"{case.name}: ONNX Runtime, rewritten")
        if trace is not None and isinstance(rewritten, Followed):
            rewritten.follow(trace.runs())
        theirs = run_reference(rewritten, fed)
        judged = judge(ours, theirs, fed.first_row, rewritten.choices, bar)
        if isinstance(rewritten, Followed):
            judged |= agreed(rewritten.agreement, bar, judged["ok"])
        if judged["ok"] is not None:
            break
    return ours, fed, {"name": case.name, **judged, "prompts": seed + 1}


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The report for people."""
    known = "the original model" if result["original"] else "the rewritten graph"
    for key, title in (("cases", "the rewritten graph"), ("original", "the original model")):
        if result[key]:
            yield f"{result['executor']} against {title} in ONNX Runtime"
            for case in result[key]:
                yield f"  {case['name']:<14}{_line(case)}"
                yield from (f"  {'':<14}{line}" for line in unjudged(case, result["precision"]))
                yield from (f"  {'':<14}{line}" for line in agreement_lines(case))
    if not result["original"]:
        yield f"not against the original model: {result['original_refused']}"
    yield from (f"  the original {note}" for note in result["original_notes"])
    same = "the same" if result["greedy_match"] else "NOT the same"
    yield f"greedy: {same} {result['greedy_tokens']} tokens as {known}"
    yield from half_lines(result["halves"])
    yield verdict(result["cases"], Bar(result["precision"], result["nmse_limit"]))


def precision(plan: Plan) -> str:
    """`f16` if any weights, activations or KV states are, except scales of quantised weights."""
    stored = {weight.dtype for weight in plan.weights if weight.layout != SCALES}
    stored |= {buffer.dtype for buffer in plan.buffers}
    stored |= {scratch.dtype for phase in plan.phases for scratch in phase.scratch}
    return "f16" if "f16" in stored else "f32"


def prompt_of(plan: Plan) -> list[int]:
    """The ids before the decode steps: the same for every run and machine."""
    return random_ids(plan, min(DECODE_PROMPT, int(plan.model["max_context"])))


def cases_of(plan: Plan, greedy: list[int]) -> Iterator[Case]:
    """Prefill at several lengths, two chunks, every row of a text, and decode steps."""
    context, chunk = int(plan.model["max_context"]), int(plan.model["prefill_chunk"])
    for n in sorted({*PREFILLS, chunk + 1}):
        if n <= context:
            yield Case(f"prefill-{n}", random_ids(plan, n), [])
    n = min(PREFILLS[-1], context)
    yield Case(f"score-{n}", random_ids(plan, n), [], all_rows=True)
    prompt = prompt_of(plan)
    forced = greedy[: context - len(prompt)]
    if forced:
        yield Case(f"decode-{len(forced)}", prompt, forced)


def run_plan(executor: Executor, case: Case) -> Logits:
    """The plan's logits for a case, [rows, V]."""
    if case.all_rows:
        return executor.score(case.prompt, 0)
    executor.prefill(case.prompt, 0)
    rows = [executor.logits()]
    for i, token in enumerate(case.forced):
        executor.step(token, len(case.prompt) + i)
        rows.append(executor.logits())
    return np.stack(rows)


def run_reference(reference: Scorer, case: Case) -> Logits:
    """ONNX Runtime's logits for the same rows."""
    reference.reset()
    if case.all_rows:
        return reference.score(case.prompt)
    prompt = reference.feed(case.prompt)
    return np.concatenate([prompt[-1:], *(reference.feed([token]) for token in case.forced)])


def greedy_ids(reference: Scorer, prompt: list[int], count: int, plan: Plan) -> list[int]:
    """The greedy ids of ONNX Runtime after a prompt, up to the end of the context."""
    reference.reset()
    known, vocab = reference.feed([0]).shape[-1], int(plan.model["vocab_size"])
    if known != vocab:
        raise PocketError(
            "this is not the plan's model",
            f"its logits cover {known} tokens, the plan's {vocab}",
            "pass the model that was compiled with --model",
        )
    reference.reset()
    row, ids = reference.feed(prompt)[-1], list[int]()
    for _ in range(min(count, int(plan.model["max_context"]) - len(prompt))):
        ids.append(int(np.argmax(row)))
        row = reference.feed(ids[-1:])[-1]
    return ids


def greedy_plan(executor: Executor, prompt: list[int], count: int) -> list[int]:
    """The greedy ids of the plan, by its own prefill and token loop."""
    if not count:
        return []
    first = executor.prefill(prompt, 0)
    rest = executor.decode(first, len(prompt), count - 1, ()) if count > 1 else ()
    return [first, *rest]


def _line(case: dict[str, Any]) -> str:
    if case["nmse"] is None:
        return "not numbers"
    error = f"max error {case['max_abs_err']:.1e}   NMSE {case['nmse']:.1e}"
    return f"{error}   same top-1 {case['top1_match']:.0%}"
