"""The command line: click; one module per group of verbs."""

from toolkit.cli.commands import cli, main

__all__ = ["cli", "main"]
