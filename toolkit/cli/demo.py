"""The embedded model, end to end: compile, verify, generate a story, report the figures."""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from toolkit.errors import PocketError

MODEL = Path(__file__).parents[1] / "demo_model"
PROMPT = "Once upon a time"


def demo(
    write: Callable[[str], None],
    on: str | None = None,
    max_new_tokens: int = 160,
    progress: Callable[[str], None] | None = None,
    serial: str | None = None,
) -> dict[str, Any]:
    """Run the demo; `write` gets text as it comes. Returns the figures."""
    tell = progress or (lambda _: None)
    with tempfile.TemporaryDirectory(prefix="pocketcl-demo-") as folder:
        started = time.perf_counter()
        if on != "phone":
            check_linker_here()
        plan = Path(folder) / "demo.plan"
        options = {"serial": serial} if on == "phone" else {}
        device = {"device": "phone", **options} if options else {}
        compiled = compile_model(plan, tell, **device)
        executor = choose(on, write, tell)
        verified = check(plan, executor, tell, **options)
        story = tell_story(plan, executor, max_new_tokens, write, tell, **options)
    seconds = time.perf_counter() - started
    figures = {"compile": compiled, "verify": verified, "run": story, "seconds": seconds}
    write("\n\n" + "\n".join(lines(figures)) + "\n")
    return figures


def check_linker_here() -> None:
    """Raise if the device here can't run a plan, before compiling one."""
    from toolkit.devices.opencl import best_device
    from toolkit.toolchain.linker import check_linker, find_linker

    if find_linker() is None and (best := best_device()):
        from toolkit.executors.opencl.device_choice import choose_device

        check_linker(choose_device(for_cpu=best["type"] == "cpu").platform.name)


def compile_model(plan: Path, tell: Callable[[str], None], **options: Any) -> dict[str, Any]:
    """Compile the embedded model, for the device here unless another is named."""
    from toolkit.compiler.pipeline import compile
    from toolkit.compiler.source import load_source

    report: dict[str, Any] = compile(load_source(MODEL), plan, progress=tell, **options).as_json()
    return report


def choose(on: str | None, write: Callable[[str], None], tell: Callable[[str], None]) -> str:
    """The executor asked for; by default the runner, or the host if there is no C++ compiler."""
    if on is not None:
        return on
    from toolkit.toolchain.build import build_runner

    tell("")  # a build prints its own progress
    try:
        build_runner()
    except PocketError as error:
        write(f"{error.what}: {error.because.splitlines()[0]}. Going on with --on host.\n\n")
        return "host"
    return "runner"


def check(plan: Path, on: str, tell: Callable[[str], None], **options: Any) -> dict[str, Any]:
    """Verify the plan; raise if it computes something else than its model."""
    from toolkit.evaluation.verify import verify

    result = verify(plan, on=on, progress=tell, **options)
    if not result["ok"]:
        raise PocketError(
            "the demo's plan doesn't compute what its model computes",
            f"largest NMSE {worst(result['cases'])}, on {result['device']}",
            "run pocketcl doctor; this is a bug or a broken OpenCL driver",
        )
    return result


def tell_story(
    plan: Path,
    on: str,
    max_new_tokens: int,
    write: Callable[[str], None],
    tell: Callable[[str], None],
    **options: Any,
) -> dict[str, Any]:
    """Generate a story, printed as it is generated."""
    from toolkit.generation.run import Output, run
    from toolkit.generation.session import Session

    tell("loading the plan")
    with Session(plan, on, **options) as session:
        tell("")
        output = Output(session, plan, write, echo=PROMPT)
        result = run(session, output.encode(PROMPT), max_new_tokens, output)
        executor = session.executor
        where = {"device": executor.device.label, "executor": on, **executor.target.facts()}
        return {**result, **session.stats(), **where}


def lines(figures: dict[str, Any]) -> Iterator[str]:
    """The table at the end."""
    from toolkit.tables import size, table

    compiled, verified, story = figures["compile"], figures["verify"], figures["run"]
    tokens, decode = len(story["ids"]), compiled["dispatches"]["decode"]
    rate = (tokens - 1) / story["decode_s"] if story["decode_s"] else 0.0
    nodes = f"{compiled['nodes_before']} nodes → {compiled['nodes_after']}"
    memory = sum(compiled[k] for k in ("weight_bytes", "state_bytes"))
    memory += max(compiled["arena_bytes"].values())
    rows = [
        ("device", f"{story['device']} ({story['executor']})"),
        ("compile", f"{nodes} → {decode} dispatches a token, in {compiled['seconds']:.1f} s"),
        ("verify", _verdict(verified)),
        ("first token", f"{1e3 * story['prefill_s']:.1f} ms"),
        ("decode", f"{rate:,.0f} tokens/s, {tokens} tokens"),
        ("memory", f"{size(memory)} on the device"),
        ("total", f"{figures['seconds']:.1f} s"),
    ]
    yield from (f"  {line}" for line in table(rows))


def worst(cases: list[dict[str, Any]]) -> float:
    """The largest NMSE of a comparison; infinite where an answer was not a number."""
    return max(float("inf") if c["nmse"] is None else c["nmse"] for c in cases)


def _verdict(result: dict[str, Any]) -> str:
    count = len(result["original"])
    return f"{count} cases against ONNX Runtime, NMSE ≤ {worst(result['original']):.0e}"
