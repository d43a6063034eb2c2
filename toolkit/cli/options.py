"""Options that several commands share."""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

Command = Callable[..., None]


class UserPath(click.Path):
    """A path; expands a `~` that the shell leaves alone, as in --out=~/plans."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The path, checked and expanded."""
        if not value:
            self.fail("It is empty.", param, ctx)
        path = os.path.expanduser(value)
        if self.exists and not os.path.exists(path):
            from toolkit.foreign.missing_path import near_paths

            near = " or ".join(near_paths(Path(path)))
            self.fail(f"{value} does not exist.{f' Did you mean {near}?' if near else ''}")
        return super().convert(path, param, ctx)


class Calibration(UserPath):
    """A file of text, or `off`."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The path, or `off` as it is."""
        return value if value == "off" else super().convert(value, param, ctx)


class PlanPath(UserPath):
    """A plan's folder; other known kinds of paths get an error that says what to do."""

    name = "plan"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The path of a folder; loading checks that it is a plan."""
        from toolkit.foreign.find_model import refuse_model

        path = super().convert(value, param, ctx)
        refuse_model(path)
        return path

    def get_missing_message(self, param: Any, ctx: Any) -> str:
        """Which plans there are, or how to make one."""
        here = ", ".join(sorted(str(path.parent) for path in Path().glob("*/plan.json"))[:6])
        return f"Plans here: {here}." if here else "`pocketcl compile MODEL` makes one of a model."


class ModelPath(UserPath):
    """A model to compile; load_source checks that it exists and what it is."""

    def get_missing_message(self, param: Any, ctx: Any) -> str:
        """Which kinds of models it takes."""
        return "An .onnx file, or the folder of an export; `pocketcl demo` needs none."


PATH = UserPath(exists=True)
MODEL = ModelPath()
PLAN = click.argument("plan", type=PlanPath())
JSON = click.option("--json", "as_json", is_flag=True, help="Print figures as JSON.")
TARGETS = click.Choice(["runner", "host", "phone"])
RUNNERS = click.Choice(["runner", "phone"])
SERIAL = click.option("--serial", metavar="S", help="Which phone, when there are several.")
COUNT = click.IntRange(min=1)
STATE = UserPath(dir_okay=False)
SYSTEM = click.option("--system", metavar="TEXT", help="A system message, for the chat template.")
TEXT_LENGTH = click.option(
    "--text-length",
    type=click.IntRange(min=0),
    metavar="N",
    default=0,
    help="Tokens that the text will have, for models with other rotary tables for long ones.",
)
TEMPLATE_FILE = click.option(
    "--template-file",
    type=UserPath(exists=True, dir_okay=False),
    metavar="FILE",
    help="A chat template in place of the plan's.",
)


class Memory(click.ParamType[str]):
    """A count of bytes with a unit, or a share: 3G, 800MiB, 50%; or, where it may be, auto."""

    name = "memory"

    def __init__(self, auto: bool = False) -> None:
        self._auto = auto

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The same text, if it is one."""
        from toolkit.errors import PocketError
        from toolkit.plan.amount import check_memory

        if self._auto and value == "auto":
            return "auto"
        try:
            return check_memory(str(value))
        except PocketError as error:
            self.fail(f"{value!r} is no size: {error.hint}", param, ctx)


FLASHES = click.Choice(["ufs40", "ufs31", "ufs21", "m1max", "a18"])


class Memories(Memory):
    """Counts of bytes or shares, separated by commas: several of them as a list."""

    name = "memories"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The same text, or texts."""
        found = [super(Memories, self).convert(word, param, ctx) for word in str(value).split(",")]
        return found if len(found) > 1 else found[0]


class Budgets(Memory):
    """Counts of bytes or shares, separated by commas, each with a flash behind @ or without."""

    name = "budgets"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The same texts, as a list."""
        found = value if isinstance(value, list) else str(value).split(",")
        for memory, _, flash in (each.partition("@") for each in found):
            super().convert(memory, param, ctx)
            if flash:
                FLASHES.convert(flash, param, ctx)
        return found


def all_of(
    options: Sequence[Callable[[Command], Command]],
) -> Callable[[Command], Command]:
    """One decorator; --help has the options in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def on_option(
    default: str | None = "runner",
    hint: str = "The C++ runner, Python, or a phone on adb.",
    targets: "click.Choice[str]" = TARGETS,
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
            "--on", type=targets, default=default, show_default=default is not None, help=hint
        )
        return where(SERIAL(checked))

    return decorate


ON = on_option()


# Of plans with weights in flash.
RUN_MEMORY = "What a plan with weights in flash may take.  [default: as compiled]"
FLASH = click.option(
    "--flash",
    type=FLASHES,
    help="Reads of weights take as long as on this one: an imitation.",
)


OVERLAP = click.option(
    "--overlap",
    type=click.Choice(["cluster", "matrix", "off"]),
    help="What computing of weights in flash waits for: its own reads, or all, as many as are held "
    "at once.  [default: cluster]",
)


ENGINE = click.option(
    "--engine",
    type=click.Choice(["device", "threads", "both"]),
    help="What computes weights in flash: the device; threads; or both: threads what is read, the "
    "device what was in memory.  [default: as planned]",
)


WARM = click.option(
    "--warm",
    type=click.Choice(["auto", "off"]),
    default="auto",
    help="off: weights in flash are not kept in mind from one run to the next.",
)


def flash_options(
    several: str = "", metavar: str = "BYTES|PERCENT", auto: bool = False
) -> Callable[[Command], Command]:
    """--memory and --flash; the command gets those that are given.

    several  help for a list of budgets, where the command takes one
    auto     whether it may follow what the system has
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def given(*args: Any, memory: Any, flash: str | None, **options: Any) -> None:
            found = {"memory": memory, "flash": flash}
            command(*args, **options, **{k: v for k, v in found.items() if v is not None})

        kind = Memories(auto) if several else Memory(auto)
        text = several or RUN_MEMORY
        shown = f"{metavar}|auto" if auto else metavar
        return click.option("--memory", type=kind, metavar=shown, help=text)(FLASH(given))

    return decorate


# Those of `toolkit.Sampling`, and --stop.
sampling_options = all_of(
    (
        click.option("--sample", is_flag=True, help="As the model's makers set it."),
        click.option(
            "-t", "--temperature", type=float, metavar="T", help="0: greedy.  [default: 0]"
        ),
        click.option("--top-k", type=int, metavar="K", help="The K likeliest ids, at most 256."),
        click.option("--top-p", type=float, metavar="P", help="The fewest ids that make up P."),
        click.option("--min-p", type=float, metavar="P", help="At least P of the likeliest one's."),
        click.option("--repetition-penalty", type=float, metavar="R", help="1: none."),
        click.option("--presence-penalty", type=float, metavar="A", help="0: none."),
        click.option("--frequency-penalty", type=float, metavar="A", help="0: none."),
        click.option("--seed", type=int, metavar="N", help="[default: another each time]"),
        click.option("--stop", metavar="TEXT", multiple=True, help="Ends the text before it."),
    )
)


class Counts(click.ParamType[list[int]]):
    """Positive numbers, separated by commas."""

    name = "list"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """`1,64,512` as a list."""
        words: list[Any] = str(value).split(",")
        return [COUNT.convert(word, param, ctx) for word in words]


RIVALS = click.Choice(["onnxruntime", "onnxruntime-genai"])
FILE = UserPath(dir_okay=False)
