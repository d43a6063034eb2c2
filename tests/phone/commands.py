"""Commands of pocketcl for phones, and what they leave there."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result
from device import Device

from toolkit import cli
from toolkit.phone.layout import HOME


def call(*args: Any) -> Result:
    return CliRunner().invoke(cli.cli, [str(arg) for arg in args])


def figures(*args: Any) -> dict[str, Any]:
    result = call(*args, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def sessions(phone: Device) -> list[int]:
    """The processes that have a folder on the phone."""
    return [int(path.name) for path in phone.root.locate(f"{HOME}/sessions").glob("*")]
