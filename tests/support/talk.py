"""A way to talk to a runner process, line by line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Talk:
    """A runner process on a terminal, so to say."""

    def __init__(self, program: Path, arguments: list[str], env: dict[str, str]) -> None:
        pipe = subprocess.PIPE
        self.child = subprocess.Popen(
            [str(program), *arguments], stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=env
        )
        first = self.line()
        self.ready = json.loads(first.removeprefix("ready ")) if first.startswith("ready") else {}
        self.first = first

    def send(self, text: str) -> None:
        assert self.child.stdin
        self.child.stdin.write(text + "\n")
        self.child.stdin.flush()

    def line(self) -> str:
        assert self.child.stdout
        return self.child.stdout.readline().rstrip("\n")

    def ask(self, text: str) -> str:
        self.send(text)
        return self.line()

    def next(self, text: str) -> int:
        """The id that a prefill or step answers."""
        word, token, _seconds = self.ask(text).split()
        assert word == "ok"
        return int(token)

    def decode(self, text: str) -> tuple[list[int], str]:
        """The ids of a decode and why it ended."""
        self.send(text)
        ids: list[int] = []
        while (words := self.line().split())[0] == "id":
            ids.append(int(words[1]))
        assert words[0] == "done", words
        return ids, words[1]

    def stats(self) -> dict[str, Any]:
        """What the runner counts."""
        return dict(json.loads(self.ask("stats").removeprefix("stats ")))

    def error(self, text: str) -> dict[str, str]:
        """The error that a command answers."""
        answer = self.ask(text)
        assert answer.startswith("error "), answer
        return dict(json.loads(answer.removeprefix("error ")))

    def end(self) -> tuple[int, str]:
        """Exit code after the end of input, and what stood on stderr."""
        _, errors = self.child.communicate(timeout=30)
        return self.child.returncode, errors


Start = Callable[..., Talk]  # the fixture `start`


def failure(line: str) -> dict[str, Any]:
    """The facts of an error line."""
    assert line.startswith("error "), line
    facts = json.loads(line.removeprefix("error "))
    assert set(facts) == {"what", "because", "hint"} and facts["what"]
    return dict(facts)
