"""What every command shares: how errors and figures are printed."""

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Any

import click

from toolkit.progress import PROGRESS

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


class WrongPath(Failure):
    """The same for a path that does not exist: exit code 2, as for every usage error."""

    exit_code = 2


class Commands(click.Group):
    """Turns every exception into one clear error; POCKETCL_DEBUG=1 shows the traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of a first use, not of the alphabet."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of a name; for a path, an error that suggests the missing command."""
        name = args[0]
        if name not in self.commands and Path(name).exists():
            verb = "run" if (Path(name) / "plan.json").exists() else "compile"
            raise click.UsageError(f"A command comes first: pocketcl {verb} {quote(name)}", ctx)
        return super().resolve_command(ctx, args)

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
            raise _failure(_known(error)) from None
        finally:
            PROGRESS("")


def _failure(error: Exception) -> Failure:
    from toolkit.errors import NotThere

    return WrongPath(error) if isinstance(error, NotThere) else Failure(error)


def _known(error: Exception) -> Exception:
    """The error itself if it has our attributes; else a PocketError made from it."""
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
        "set POCKETCL_DEBUG=1 for the traceback, and report it with the command",
    )


def report(figures: Any, lines: Callable[[], Any], as_json: bool) -> None:
    """Print figures as JSON, or lines of text."""
    PROGRESS("")
    for text in [json.dumps(figures, indent=2)] if as_json else lines():
        click.echo(text)


def writer(as_json: bool) -> Callable[[str], None]:
    """What prints text as it is generated; nothing with --json, whose figures contain it."""
    return (lambda _: None) if as_json else write


def write(text: str) -> None:
    """Print text at once, without a line break."""
    sys.stdout.write(text)
    sys.stdout.flush()
