"""Options that several commands share."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., None]
PATH = click.Path(exists=True, path_type=Path)
PLAN = click.argument("plan", type=click.Path(exists=True, file_okay=False, path_type=Path))
JSON = click.option("--json", "as_json", is_flag=True, help="Print figures as JSON.")
PLACES = click.Choice(["runner", "host", "phone"])
SERIAL = click.option("--serial", metavar="S", help="Which phone, when there are several.")
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


def on_option(
    default: str | None = "runner", hint: str = "The C++ runner, Python, or a phone on adb."
) -> Callable[[Command], Command]:
    """--on and --serial; the command gets `serial` only with `on="phone"`."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def checked(*args: Any, serial: str | None, **options: Any) -> None:
            if options["on"] == "phone":
                options["serial"] = serial
            elif serial is not None:
                raise click.UsageError("--serial goes with --on phone.")
            command(*args, **options)

        where = click.option(
            "--on", type=PLACES, default=default, show_default=default is not None, help=hint
        )
        return where(SERIAL(checked))

    return decorate


ON = on_option()


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


class Counts(click.ParamType[list[int]]):
    """Positive numbers between commas."""

    name = "list"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """`1,64,512` as a list."""
        words: list[Any] = str(value).split(",")
        return [COUNT.convert(word, param, ctx) for word in words]


RIVALS = click.Choice(["onnxruntime", "onnxruntime-genai"])
FILE = click.Path(dir_okay=False, path_type=Path)
