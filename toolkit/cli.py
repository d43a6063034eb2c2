"""The command line: one verb per command; each calls one function of the module of its name.

Modules are imported inside the commands, so that `pocketcl --help` answers at once.
"""

import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any, cast

import click

from toolkit import __version__

Progress = Callable[..., None]
Command = Callable[..., None]


class Failure(click.ClickException):
    """An error of ours in three lines, exit code 1."""

    def __init__(self, error: BaseException) -> None:
        from toolkit.errors import format_error

        super().__init__(str(error))
        self.text = format_error(error)

    def show(self, file: Any = None) -> None:
        """Print it to stderr."""
        click.echo(self.text, file=file, err=True)


class Commands(click.Group):
    """Turns every exception into one clear error; the traceback is there for who asks for it."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, click.ClickException, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            raise click.Abort from None
        except Exception as error:
            if os.environ.get("POCKETCL_DEBUG"):
                raise
            raise Failure(_known(error)) from None
        finally:
            PROGRESS("")


def _known(error: Exception) -> Exception:
    """The error itself where it explains itself; else what can be said about it."""
    from toolkit.errors import PocketError

    if getattr(error, "what", None):
        return error
    if isinstance(error, OSError):
        what = f"{error.filename or 'a file or program'} cannot be used"
        hint = "check that it exists, its permissions, and the free space"
        return PocketError(what, error.strerror or str(error), hint)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    kind = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return PocketError(
        f"unexpected {kind}",
        f"a bug of PocketCL, at {Path(frame.filename).name}:{frame.lineno}",
        "POCKETCL_DEBUG=1 shows the traceback: please report it with the command",
    )


class _Progress:
    """What is going on, on one line of stderr, and only on a terminal."""

    shown = False

    def __call__(self, text: str, done: int = 0, total: int = 0) -> None:
        """Replace the line; "" clears it. The cursor waits at its start: a note writes over it."""
        if not sys.stderr.isatty() or not (text or self.shown):
            return
        share = f" {100 * done // total} %" if total else ""
        room = shutil.get_terminal_size().columns - 1 - len(share)  # a longer line would wrap
        line = f"{text[: max(room, 0)]}{share}\r" if text else ""
        sys.stderr.write(f"\r\x1b[2K{line}")
        sys.stderr.flush()
        self.shown = bool(text)


PROGRESS = _Progress()


def _report(figures: dict[str, Any], lines: Callable[[], Any], as_json: bool) -> None:
    """Print figures as JSON, or lines of text."""
    PROGRESS("")
    for text in [json.dumps(figures, indent=2)] if as_json else lines():
        click.echo(text)


def _writer(as_json: bool) -> Callable[[str], None]:
    """Where text goes while it comes; with --json it stands in the figures."""
    return (lambda _: None) if as_json else _write


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


PATH = click.Path(exists=True, path_type=Path)
PLAN = click.argument("plan", type=click.Path(exists=True, file_okay=False, path_type=Path))
JSON = click.option("--json", "as_json", is_flag=True, help="Print figures as JSON.")
ON = click.option(
    "--on",
    type=click.Choice(["runner", "host"]),
    default="runner",
    show_default=True,
    help="Executor: the C++ runner, or Python.",
)
COUNT = click.IntRange(min=1)
STATE = click.Path(dir_okay=False, path_type=Path)
SYSTEM = click.option("--system", metavar="TEXT", help="A system message, for the chat template.")
TEMPLATE_FILE = click.option(
    "--template-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A chat template in place of the plan's.",
)
F32_OR_F16 = click.Choice(["f32", "f16"])


class Rule(click.ParamType[str]):
    """PATTERN=f16 or PATTERN=f32."""

    name = "rule"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The same text, if it is a rule."""
        pattern, _, dtype = str(value).rpartition("=")
        if not pattern or dtype not in ("f16", "f32"):
            self.fail(f"{value!r} is not PATTERN=f16 or PATTERN=f32", param, ctx)
        return value


GROUP = click.option(
    "--group",
    type=click.Choice([16, 32, 64, 128, 256]),
    help="e0m4: weights that share a scale.  [default: 32]",
)
SYMMETRIC = click.option("--symmetric", is_flag=True, help="e0m4: no zero points, fewer bytes.")
KEEP = click.option(
    "--keep",
    type=Rule(),
    multiple=True,
    metavar="PATTERN=f16|f32",
    help="e0m4: weights that stay float, by name; also lm_head, embed.",
)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pocketcl")
def cli() -> None:
    """Compile an ONNX model for a phone's GPU (OpenCL) and run it there, or here."""


@cli.command()
@click.option("--on", type=click.Choice(["runner", "host"]), help="Executor.  [default: the best]")
@JSON
def demo(on: str | None, as_json: bool) -> None:
    """Compile the embedded model, verify it, tell a story."""
    from toolkit.demo import demo as run

    figures = run(_writer(as_json), on, progress=PROGRESS)
    if as_json:
        _report(figures, list, as_json)


@cli.command()
@JSON
def devices(as_json: bool) -> None:
    """OpenCL devices here, phones on adb, profiles known."""
    from toolkit.devices import lines, overview

    found = overview()
    _report(found, lambda: lines(found), as_json)


@cli.command()
@JSON
def doctor(as_json: bool) -> None:
    """What is missing here, and the command that mends it."""
    from toolkit.doctor import lines, report

    found = report(PROGRESS)
    _report(found, lambda: lines(found["checks"]), as_json)
    if not all(check["ok"] or not check["needed"] for check in found["checks"]):
        sys.exit(1)


@cli.command()
@click.argument("path", metavar="MODEL|PLAN", type=PATH)
@click.option("--memory", "view", flag_value="memory", help="A plan: where its bytes go.")
@click.option("--unsupported", "view", flag_value="unsupported", help="Nodes without a kernel.")
@click.option("--graph", "view", flag_value="graph", help="A model: its nodes after the passes.")
@click.option("--why", metavar="PASS", help="A model: why a pass's rules left nodes alone.")
@click.option("--quality", "view", flag_value="quality", help="What E0M4 costs each weight.")
@GROUP
@SYMMETRIC
@KEEP
@JSON
def inspect(
    path: Path,
    view: str | None,
    why: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """What a model or a plan is made of."""
    from toolkit.inspect import inspect as run

    if view == "quality":
        from toolkit.quality import lines as quality_lines
        from toolkit.quality import quality

        costs = quality(path, progress=PROGRESS, **options)
        return _report(costs, lambda: quality_lines(costs), as_json)
    if any(options.values()):
        raise click.UsageError("--group, --symmetric and --keep go with --quality.")
    figures, lines = run(path, view, why, PROGRESS)
    _report(figures, lambda: lines, as_json)


@cli.command("compile")
@click.argument("src", type=PATH)
@click.option(
    "-o",
    "--out",
    metavar="PLAN",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder to write; a plan that is there is replaced.",
)
@click.option("--device", help="A profile or SoC (pocketcl devices).  [default: the device here]")
@click.option(
    "--weights",
    type=click.Choice(["source", "f32", "f16", "e0m4"]),
    default="source",
    show_default=True,
    help="How weights are stored.",
)
@GROUP
@SYMMETRIC
@KEEP
@click.option("--max-context", type=COUNT, help="Tokens.  [default: the model's, at most 4096]")
@click.option("--prefill-chunk", type=COUNT, help="Tokens that one prefill step takes at most.")
@click.option("--batch", type=COUNT, default=1, help="Texts that `eval --on host` scores at once.")
@click.option("--activations", type=F32_OR_F16, help="Between steps.  [default: by device]")
@click.option("--kv", type=F32_OR_F16, help="The KV cache.  [default: by device]")
@click.option("--tuned/--no-tuned", default=True, help="Use knobs that `tune` found.")
@JSON
def compile_(src: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Compile an .onnx file, or an exporter's folder, to a plan."""
    from toolkit.compile import compile as run
    from toolkit.inspect import compile_lines
    from toolkit.source import load_source

    of_codes = any(options[name] for name in ("group", "symmetric", "keep"))
    if of_codes and options["weights"] != "e0m4":
        raise click.UsageError("--group, --symmetric and --keep go with --weights e0m4.")
    report = run(load_source(src), out, progress=PROGRESS, **options)
    figures = report.as_json()
    _report(figures, lambda: compile_lines(report.path, figures), as_json)


@cli.command("eval")
@PLAN
@click.option("--text", type=PATH, metavar="FILE", required=True, help="Text, or .npy of ids.")
@click.option("--window", type=COUNT, help="Tokens.  [default: the context, at most 2048]")
@click.option("--remainder", type=click.Choice(["keep", "drop"]), default="keep", show_default=True)
@click.option("--model", type=PATH, metavar="SRC", help="The model, if it changed or moved.")
@click.option("--reference/--no-reference", default=True, help="Also score the model itself.")
@ON
@JSON
def eval_(plan: Path, as_json: bool, **options: Any) -> None:
    """Perplexity over a text, next to the model's own, and the KL divergence."""
    from toolkit.perplexity import evaluate, lines

    figures = evaluate(plan, progress=PROGRESS, **options)
    _report(figures, lambda: lines(figures), as_json)


@cli.command()
@PLAN
@click.option("--model", type=PATH, metavar="SRC", help="The model, if it changed or moved.")
@ON
@JSON
def verify(plan: Path, model: Path | None, on: str, as_json: bool) -> None:
    """Compare a plan with its model in ONNX Runtime."""
    from toolkit.verify import lines
    from toolkit.verify import verify as run

    figures = run(plan, model, on, PROGRESS)
    _report(figures, lambda: lines(figures), as_json)
    if not figures["ok"]:
        sys.exit(1)


def sampling_options(command: Command) -> Command:
    """The options of `toolkit.sampling` and those that end a text."""
    options = [
        click.option("--sample", is_flag=True, help="As the model's makers set it."),
        click.option("--temperature", type=float, metavar="T", help="0: greedy.  [default: 0]"),
        click.option("--top-k", type=int, metavar="K", help="The K likeliest ids, at most 256."),
        click.option("--top-p", type=float, metavar="P", help="The fewest ids that make up P."),
        click.option("--min-p", type=float, metavar="P", help="At least P of the likeliest one's."),
        click.option("--repetition-penalty", type=float, metavar="R", help="1: none."),
        click.option("--presence-penalty", type=float, metavar="A", help="0: none."),
        click.option("--frequency-penalty", type=float, metavar="A", help="0: none."),
        click.option("--seed", type=int, metavar="N", help="[default: another each time]"),
        click.option("--stop", metavar="TEXT", multiple=True, help="Ends the text before it."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@cli.command()
@PLAN
@click.option("--prompt", metavar="TEXT|-", help="What to continue; - reads stdin.")
@click.option("--prompt-file", metavar="FILE|-", help="The same from a file.")
@click.option("--ids", metavar="1,2,3", help="The same as token ids.")
@click.option("--template/--no-template", default=None, help="The prompt is a chat message.")
@SYSTEM
@TEMPLATE_FILE
@click.option("--max-new-tokens", type=COUNT, default=128, show_default=True)
@click.option("--load-state", type=STATE, metavar="FILE", help="Don't feed what it holds again.")
@click.option("--save-state", type=STATE, metavar="FILE", help="Keep text and KV cache there.")
@sampling_options
@click.option("--logprobs", is_flag=True, default=None, help="Print each id and its own.")
@click.option("--dump", metavar="NAME", multiple=True, help="A tensor to print (--on host).")
@ON
@JSON
def run(
    plan: Path,
    prompt: str | None,
    prompt_file: str | None,
    ids: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Generate text (or ids) from a prompt; without one, behind a loaded state."""
    from toolkit.run import read_prompt, run_plan

    given = sum(value is not None for value in (prompt, prompt_file, ids))
    if given > 1 or (given == 0 and options["load_state"] is None):
        raise click.UsageError("Give one of --prompt TEXT, --prompt-file FILE and --ids 1,2,3.")
    if prompt == "-" or prompt_file is not None:
        prompt = read_prompt(prompt_file or "-")
    figures = run_plan(plan, prompt, ids, write=_writer(as_json), progress=PROGRESS, **options)
    _report(figures, list, as_json)
    if figures["stop"] == "cancel":
        sys.exit(1)


@cli.command()
@PLAN
@SYSTEM
@click.option("--no-template", is_flag=True, help="Continue plain text.")
@TEMPLATE_FILE
@click.option("--max-new-tokens", type=COUNT, default=512, show_default=True)
@click.option("--state", type=STATE, metavar="FILE", help="Go on with this, and keep it there.")
@sampling_options
@ON
@JSON
def chat(plan: Path, as_json: bool, **options: Any) -> None:
    """Talk to a plan; from a pipe, one message per line."""
    from toolkit.repl import chat_with

    if not chat_with(plan, write=_write, progress=PROGRESS, as_json=as_json, **options):
        sys.exit(1)


class Counts(click.ParamType[list[int]]):
    """Positive numbers between commas."""

    name = "list"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """`1,64,512` as a list."""
        words: list[Any] = str(value).split(",")
        return [COUNT.convert(word, param, ctx) for word in words]


RIVALS = click.Choice(["onnxruntime", "onnxruntime-genai"])
FILE = click.Path(dir_okay=False, path_type=Path)


@cli.command()
@click.argument("plan", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--prompt-tokens", type=Counts(), metavar="1,64,512", help="Lengths of prompts.")
@click.option("--new-tokens", type=COUNT, default=64, show_default=True, help="After the last.")
@click.option("--repeats", type=COUNT, default=5, show_default=True)
@click.option("--compare", type=RIVALS, multiple=True, help="Run this in turn with the plan.")
@click.option("--trace", type=FILE, metavar="FILE.json", help="Timeline for a trace viewer.")
@ON
@click.option("--kernels", is_flag=True, help="Instead of a plan: every kernel of this device.")
@click.option("--kernel", metavar="NAME", multiple=True, help="--kernels: this one.")
@click.option("--case", metavar="TEXT", default="", help="--kernels: cases with this in the name.")
@click.option("--roofline", type=FILE, metavar="FILE.svg", help="--kernels: a picture.")
@JSON
def bench(
    plan: Path | None,
    as_json: bool,
    kernels: bool,
    kernel: tuple[str, ...],
    case: str,
    roofline: Path | None,
    **options: Any,
) -> None:
    """How fast a plan runs, or the kernels: medians and their spread."""
    from toolkit import bench as plans
    from toolkit import bench_kernels

    if (plan is None) != kernels:
        raise click.UsageError("Give either a PLAN or --kernels.")
    if plan:
        figures = plans.bench(plan, progress=PROGRESS, **options)
        return _report(figures, lambda: plans.lines(figures), as_json)
    from toolkit.bench_roofline import check_path, write_roofline

    if roofline:
        check_path(roofline)
    figures = bench_kernels.bench_kernels(kernel, case, progress=PROGRESS)
    if roofline:
        write_roofline(roofline, figures)
    _report(figures, lambda: bench_kernels.lines(figures), as_json)


@cli.command()
@PLAN
@click.option("--save", is_flag=True, help="Also write the table that comes with a checkout.")
@click.option("--kernel", "kernels", metavar="NAME", multiple=True, help="Only this one.")
@click.option("--repeats", type=COUNT, default=7, show_default=True, help="Of every trial.")
@JSON
def tune(plan: Path, as_json: bool, **options: Any) -> None:
    """Find faster settings of a plan's kernels, for later compiles."""
    from toolkit.tune import lines
    from toolkit.tune import tune as run

    figures = run(plan, progress=PROGRESS, **options)
    _report(figures, lambda: lines(figures), as_json)


def main() -> None:
    """The entry point `pocketcl`."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # a name that this terminal can't show is no reason to fail
            cast(TextIOWrapper, stream).reconfigure(errors="replace")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    cli()


if __name__ == "__main__":
    main()
