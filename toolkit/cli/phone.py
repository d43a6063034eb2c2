"""The commands for phones: list them, pair one, free its storage."""

import click

from toolkit.cli.base import report
from toolkit.cli.options import JSON, SERIAL


@click.group()
def phone() -> None:
    """Manage phones on adb: list them, pair one, clean one."""


@phone.command()
@click.option("--all", "everything", is_flag=True, help="The runner too, and the folder itself.")
@SERIAL
@JSON
def clean(everything: bool, serial: str | None, as_json: bool) -> None:
    """Remove plans, compiled programs and old runners, except those that are running."""
    from toolkit.phone.adb import find_phone
    from toolkit.phone.clean import clean as run
    from toolkit.phone.clean import lines

    figures = run(find_phone(serial), everything)
    report(figures, lambda: lines(figures), as_json)


@phone.command("list")
@JSON
def list_(as_json: bool) -> None:
    """List phones, their state, and what is stored on them."""
    from toolkit.phone.overview import lines, overview

    found = overview()
    report({"phones": found}, lambda: lines(found), as_json)


@phone.command()
@click.argument("address", metavar="[HOST:PORT", required=False)
@click.argument("code", metavar="CODE]", required=False)
def pair(address: str | None, code: str | None) -> None:
    """Pair with a phone over Wi-Fi; without arguments, show the steps."""
    from toolkit.phone.pair import STEPS
    from toolkit.phone.pair import pair as run

    if address is None:
        return click.echo(STEPS)
    if code is None:
        raise click.UsageError("Give HOST:PORT and CODE as the phone shows them.")
    for line in run(address, code):
        click.echo(line)
