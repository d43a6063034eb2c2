"""What every command has: errors in words, figures as text or JSON, shared options."""

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
    """The same for a path that is not there: exit code 2, as of every wrong argument."""

    exit_code = 2


class Commands(click.Group):
    """Turns every exception into one clear error; the traceback is there for who asks for it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are of use, not in the alphabet's."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of a name; a path in its place lacks its verb."""
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


def report(figures: Any, lines: Callable[[], Any], as_json: bool) -> None:
    """Print figures as JSON, or lines of text."""
    PROGRESS("")
    for text in [json.dumps(figures, indent=2)] if as_json else lines():
        click.echo(text)


def writer(as_json: bool) -> Callable[[str], None]:
    """Where text goes while it comes; with --json it stands in the figures."""
    return (lambda _: None) if as_json else write


def write(text: str) -> None:
    """Print text now, without a line break of its own."""
    sys.stdout.write(text)
    sys.stdout.flush()
