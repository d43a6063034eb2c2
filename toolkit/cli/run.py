"""The commands that run a plan: run, chat, verify, eval, tune."""

import sys
from pathlib import Path
from shlex import quote
from typing import Any

import click

from toolkit.cli.base import report, write, writer
from toolkit.cli.options import (
    COUNT,
    ENGINE,
    FILE,
    JSON,
    MODEL,
    ON,
    OVERLAP,
    PATH,
    PLAN,
    RUNNERS,
    STATE,
    SYSTEM,
    TEMPLATE_FILE,
    TEXT_LENGTH,
    WARM,
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
@click.option(
    "--trace-access",
    type=FILE,
    metavar="FILE",
    help="Write down what is read of weights in flash, for `simulate`; FILE.scores as well.",
)
@click.option("--logprobs", is_flag=True, default=None, help="Print each id and its own.")
@click.option("--dump", metavar="NAME", multiple=True, help="A tensor to print (--on host).")
@flash_options(auto=True)
@OVERLAP
@ENGINE
@WARM
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
@flash_options(auto=True)
@WARM
@ON
@JSON
def chat(plan: Path, as_json: bool, **options: Any) -> None:
    """Talk to a plan; from a pipe, one message per line."""
    from toolkit.generation.repl import chat_with

    if not chat_with(plan, write=write, progress=PROGRESS, as_json=as_json, **options):
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


COMMANDS = (run, chat, verify, eval_, tune)
