"""The commands that run a plan: run, chat, verify, eval, bench, tune."""

import sys
from pathlib import Path
from shlex import quote
from typing import Any

import click

from toolkit.cli.base import report, write, writer
from toolkit.cli.options import (
    COUNT,
    FILE,
    JSON,
    MODEL,
    ON,
    PATH,
    PLAN,
    RIVALS,
    RUNNERS,
    STATE,
    SYSTEM,
    TEMPLATE_FILE,
    TEXT_LENGTH,
    Counts,
    PlanPath,
    flash_options,
    on_option,
    sampling_options,
)
from toolkit.progress import PROGRESS

PROMPTS = "--prompt TEXT, --prompt-file FILE or --ids 1,2,3"


@click.command("eval")
@PLAN
@click.option("--text", type=PATH, metavar="FILE", required=True, help="Text, or .npy of ids.")
@click.option("--window", type=COUNT, help="Tokens.  [default: the context, at most 2048]")
@click.option("--remainder", type=click.Choice(["keep", "drop"]), default="keep", show_default=True)
@click.option("--model", type=MODEL, metavar="SRC", help="The model, if it changed or moved.")
@click.option("--reference/--no-reference", default=True, help="Also score the model itself.")
@flash_options()
@ON
@JSON
def eval_(plan: Path, as_json: bool, **options: Any) -> None:
    """Measure perplexity over a text, next to the model's own."""
    from toolkit.evaluation.perplexity import evaluate, lines

    figures = evaluate(plan, progress=PROGRESS, **options)
    report(figures, lambda: lines(figures), as_json)


@click.command()
@PLAN
@click.option("--model", type=MODEL, metavar="SRC", help="The model, if it changed or moved.")
@flash_options()
@ON
@JSON
def verify(plan: Path, as_json: bool, **options: Any) -> None:
    """Compare a plan with its model in ONNX Runtime."""
    from toolkit.evaluation.verify import lines
    from toolkit.evaluation.verify import verify as run

    figures = run(plan, progress=PROGRESS, **options)
    report(figures, lambda: lines(figures), as_json)
    if not figures["ok"]:
        sys.exit(1)


@click.command()
@PLAN
@click.argument("words", metavar="[PROMPT]", nargs=-1)
@click.option("-p", "--prompt", metavar="TEXT|-", help="PROMPT, too; - reads stdin.")
@click.option("--prompt-file", metavar="FILE|-", help="The same from a file.")
@click.option("--ids", metavar="1,2,3", help="The same as token ids.")
@click.option("--template/--no-template", default=None, help="The prompt is a chat message.")
@SYSTEM
@TEMPLATE_FILE
@click.option("-n", "--max-new-tokens", type=COUNT, default=128, show_default=True)
@click.option(
    "--load-state", type=STATE, metavar="FILE", help="Continue from a saved text and KV cache."
)
@click.option(
    "--save-state", type=STATE, metavar="FILE", help="Save text and KV cache to this file."
)
@TEXT_LENGTH
@sampling_options
@click.option("--logprobs", is_flag=True, default=None, help="Print each id and its own.")
@click.option("--dump", metavar="NAME", multiple=True, help="A tensor to print (--on host).")
@flash_options()
@ON
@JSON
def run(
    plan: Path,
    words: tuple[str, ...],
    prompt: str | None,
    prompt_file: str | None,
    ids: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Generate text from a prompt, which may be piped in."""
    from toolkit.generation.run import piped_prompt, read_prompt, run_plan

    if len(words) > 1:
        prompt = " ".join(words)
        raise click.UsageError(f'Put the prompt into quotes: pocketcl run {plan} "{prompt}"')
    given = [value for value in (*words, prompt, prompt_file, ids) if value is not None]
    if len(given) > 1:
        raise click.UsageError(f"Give one prompt: PROMPT, {PROMPTS}.")
    prompt = next(iter(words), prompt)
    if prompt == "-" or prompt_file is not None:
        prompt = read_prompt(prompt_file or "-")
    elif not given and options["load_state"] is None and (prompt := piped_prompt()) is None:
        example = f'pocketcl run {quote(str(plan))} "Once upon a time"'
        raise click.UsageError(f"There is no prompt: {example}, a pipe, {PROMPTS}.")
    figures = run_plan(plan, prompt, ids, write=writer(as_json), progress=PROGRESS, **options)
    report(figures, list, as_json)
    if figures["stop"] == "cancel":
        sys.exit(1)


@click.command()
@PLAN
@SYSTEM
@click.option("--no-template", is_flag=True, help="Continue plain text.")
@TEMPLATE_FILE
@click.option("-n", "--max-new-tokens", type=COUNT, default=512, show_default=True)
@click.option(
    "--state",
    type=STATE,
    metavar="FILE",
    help="Load the conversation from this file, and save it there.",
)
@TEXT_LENGTH
@sampling_options
@flash_options()
@ON
@JSON
def chat(plan: Path, as_json: bool, **options: Any) -> None:
    """Talk to a plan; from a pipe, one message per line."""
    from toolkit.generation.repl import chat_with

    if not chat_with(plan, write=write, progress=PROGRESS, as_json=as_json, **options):
        sys.exit(1)


@click.command()
@click.argument("plan", required=False, type=PlanPath())
@click.option("--prompt-tokens", type=Counts(), metavar="1,64,512", help="Lengths of prompts.")
@click.option("--new-tokens", type=COUNT, default=64, show_default=True, help="After the last.")
@click.option("--repeats", type=COUNT, default=5, show_default=True)
@click.option("--compare", type=RIVALS, multiple=True, help="Run this in turn with the plan.")
@click.option("--trace", type=FILE, metavar="FILE.json", help="Timeline for a trace viewer.")
@click.option("--report", "page", type=FILE, metavar="FILE.html", help="A page with pictures.")
@click.option("--cool-to", type=float, metavar="°C", help="Cool down to this before each repeat.")
@click.option("--ui", is_flag=True, help="Also beside a client that draws every 16 ms: its waits.")
@flash_options("As with run; of several, a curve.", "BYTES|PERCENT,…")
@ON
@click.option("--kernels", is_flag=True, help="Measure every kernel of this device instead.")
@click.option("--kernel", metavar="NAME", multiple=True, help="--kernels: this one.")
@click.option("--case", metavar="TEXT", default="", help="--kernels: cases with this in the name.")
@click.option("--roofline", type=FILE, metavar="FILE.svg", help="--kernels: a picture.")
@click.option("--save", metavar="NAME", help="--kernels: keep them in a profile, for estimate.")
@click.option("--families", is_flag=True, help="--kernels: each family, best and plainest kernel.")
@click.option("--count", is_flag=True, help="--kernels: instructions and lines, not seconds.")
@click.option("--class", "device_class", metavar="NAME", help="--families, --count: its kernels.")
@click.option("--seconds", type=COUNT, help="--families: at most so long.  [default: 300]")
@JSON
def bench(
    plan: Path | None,
    as_json: bool,
    kernels: bool,
    kernel: tuple[str, ...],
    case: str,
    roofline: Path | None,
    save: str | None,
    families: bool,
    count: bool,
    device_class: str | None,
    seconds: int | None,
    page: Path | None,
    **options: Any,
) -> None:
    """Measure how fast a plan or the kernels run: medians and their spread."""
    from toolkit.bench import plan_bench as plans

    if (plan is None) != kernels:
        raise click.UsageError("Give either a PLAN or --kernels.")
    if save and not kernels:
        raise click.UsageError("--save goes with --kernels.")
    if families and (not kernels or kernel or case or roofline or save):
        raise click.UsageError("--families goes with --kernels, --class, --seconds and --json.")
    if count and (not kernels or families or roofline or save):
        raise click.UsageError("--count goes with --kernels, --kernel, --case, --class and --json.")
    if ((device_class and not count) or seconds) and not families:
        raise click.UsageError(
            "--class goes with --families or --count, --seconds with --families."
        )
    if page:
        from toolkit.bench.report.page import check_report

        if kernels:
            raise click.UsageError("--report goes with a PLAN; --kernels has --roofline.")
        check_report(page)
    if options["ui"] and (kernels or options.get("serial") == "all"):
        raise click.UsageError("--ui goes with a PLAN and one device.")
    if isinstance(options.get("memory"), list):
        return _bench_curve(plan, as_json, page, options)
    if plan and options.get("serial") == "all":
        return _bench_all(plan, as_json, page, options)
    if plan:
        figures = plans.bench(plan, progress=PROGRESS, **options)
        _write_page(page, [figures])
        return report(figures, lambda: plans.lines(figures), as_json)
    if options["on"] == "phone":
        raise click.UsageError("--kernels measures the device here.")
    if count:
        return _count_kernels(kernel, case, device_class, as_json)
    if families:
        return _bench_families(device_class, seconds, as_json)
    _bench_kernels(kernel, case, roofline, save, as_json)


def _bench_curve(
    plan: Path | None, as_json: bool, page: Path | None, options: dict[str, Any]
) -> None:
    from toolkit.bench.flash.curve import lines
    from toolkit.bench.flash.page import write_curve
    from toolkit.bench.plan_bench import bench as run

    others = [options.pop(name) for name in ("compare", "trace", "cool_to", "ui")]
    if plan is None or any(others) or options.get("serial") == "all":
        raise click.UsageError("Several --memory go with a PLAN, one device, --flash and --report.")
    figures = run(plan, progress=PROGRESS, **options)
    if page:
        write_curve(page, figures)
    report(figures, lambda: lines(figures), as_json)


def _bench_families(device_class: str | None, seconds: int | None, as_json: bool) -> None:
    from toolkit.bench.family_bench import SECONDS, bench_families, lines

    figures = bench_families(device_class, seconds or SECONDS, PROGRESS)
    report(figures, lambda: lines(figures), as_json)


def _count_kernels(
    names: tuple[str, ...], case: str, device_class: str | None, as_json: bool
) -> None:
    from toolkit.bench.kernel_counts import count_kernels, lines

    figures = count_kernels(names, case, device_class, PROGRESS)
    report(figures, lambda: lines(figures), as_json)


def _bench_kernels(
    names: tuple[str, ...], case: str, roofline: Path | None, save: str | None, as_json: bool
) -> None:
    from toolkit.bench.kernel_bench import bench_kernels, lines
    from toolkit.bench.kernel_profile import save_profile
    from toolkit.bench.report.roofline import check_path, write_roofline
    from toolkit.devices.profiles import measured_file

    # raise for bad names before minutes of measuring
    if roofline:
        check_path(roofline)
    if save:
        measured_file(save)
    figures = bench_kernels(names, case, progress=PROGRESS)
    if roofline:
        write_roofline(roofline, figures)
    if save:
        figures["saved"] = str(save_profile(save, figures))
    report(figures, lambda: lines(figures), as_json)


def _write_page(page: Path | None, found: list[dict[str, Any]]) -> None:
    if page:
        from toolkit.bench.report.page import write_report

        write_report(page, found)


def _bench_all(plan: Path, as_json: bool, page: Path | None, options: dict[str, Any]) -> None:
    from toolkit.bench.phones import bench_all, lines

    found = bench_all(plan, progress=PROGRESS, **options)
    _write_page(page, found)
    report(found, lambda: lines(found), as_json)
    if any("error" in figures for figures in found):
        sys.exit(1)


@click.command()
@PLAN
@click.option("--save", is_flag=True, help="Also write the table that comes with a checkout.")
@click.option("--kernel", "kernels", metavar="NAME", multiple=True, help="Only this one.")
@click.option("--repeats", type=COUNT, default=7, show_default=True, help="Of every trial.")
@click.option("--budget", type=COUNT, metavar="S", help="Try nothing new after so many seconds.")
@on_option(hint="Here or on a phone on adb.", targets=RUNNERS)
@JSON
def tune(plan: Path, as_json: bool, **options: Any) -> None:
    """Find faster settings of a plan's kernels, for later compiles."""
    from toolkit.tuning.tuner import lines
    from toolkit.tuning.tuner import tune as run

    figures = run(plan, progress=PROGRESS, **options)
    report(figures, lambda: lines(figures), as_json)


COMMANDS = (run, chat, verify, eval_, bench, tune)
