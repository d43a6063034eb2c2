"""A pocketcl-runner as a process: lines in, lines out."""

import contextlib
import json
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, cast

from toolkit.errors import PocketError
from toolkit.executors.interface import DeviceInfo
from toolkit.executors.target import Target


class Process:
    """A running pocketcl-runner: lines in, lines out, and the last words when it dies."""

    def __init__(self, target: Target, arguments: Sequence[str], notes: bool = True) -> None:
        """Start it on a machine. `notes`: show what it has to say on stderr."""
        self._show, self._target = notes, target
        self._last: deque[str] = deque(maxlen=8)
        self._kept: deque[str] = deque()  # lines of a command beside which another was asked
        self._child = target.start(arguments)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def ask(self, command: str) -> list[str]:
        """Send a command; return the words of its one answer."""
        self.send(command)
        try:
            return self.answer()
        except KeyboardInterrupt:
            self.cancel()
            raise

    def aside(self, command: str) -> list[str]:
        """Send a command that is answered while another one is, too; return its answer's words.

        What the other one answers before is kept for `answer`. An error tells whose it is.
        """
        self.send(command)
        word = command.split()[0]
        while True:
            line = self._line()
            if line.startswith(("ok ", f'error {{"of": "{word}"')):
                return self._words(line)
            self._kept.append(line)

    def cancel(self) -> list[list[str]]:
        """End what runs; return the answers that were still on their way.

        Whether one was is not known (Ctrl-C may come right after it), so `stats` marks the end.
        """
        self.send("cancel")
        self.send("stats")
        late: list[list[str]] = []
        while not late or late[-1][0] != "stats":
            try:
                late.append(self.answer())
            except PocketError:
                if self._child.poll() is not None:  # it died
                    raise
        return late[:-1]

    def send(self, command: str) -> None:
        """Send a line."""
        assert self._child.stdin
        try:
            self._child.stdin.write(command + "\n")
            self._child.stdin.flush()
        except (OSError, ValueError):
            raise self._exit_error() from None

    def answer(self) -> list[str]:
        """The words of the next line; an `error` line is raised."""
        return self._words(self._kept.popleft() if self._kept else self._line())

    def _line(self) -> str:
        assert self._child.stdout
        line = self._child.stdout.readline()
        if not line.endswith("\n"):
            raise self._exit_error()
        return line

    def _words(self, line: str) -> list[str]:
        word, _, rest = line.strip().partition(" ")
        if word == "error":
            facts = json.loads(rest)
            facts.pop("of", None)
            raise PocketError(**{name: self._target.local(fact) for name, fact in facts.items()})
        return [word, rest] if word in ("ready", "stats") else line.split()

    def end(self) -> None:
        """Ask it to quit; kill it when it doesn't."""
        with contextlib.suppress(PocketError):
            self.send("quit")
        try:
            self._child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._listener.join(timeout=1)
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            with contextlib.suppress(OSError):
                cast(Any, pipe).close()
        self._target.leave()

    def _listen(self) -> None:
        assert self._child.stderr
        more = False  # a note that ends in a colon goes on: the compiler's own words
        for line in map(self._target.local, map(str.rstrip, self._child.stderr)):
            self._last.append(line)
            note = line.startswith("note: ")
            if self._show and (note or more):
                print(line if note else f"  {line}", file=sys.stderr)
            more = line.endswith(":") if note else more

    def _exit_error(self) -> PocketError:
        try:
            code = self._child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            code = self._child.wait()
        self._listener.join(timeout=1)
        return self._target.exit_error(code, [line for line in self._last if line])


def device_of(ready: Mapping[str, Any]) -> DeviceInfo:
    """By what the runner says when it is ready."""
    units = int(ready["compute_units"])
    return DeviceInfo(ready["device"], units, ready["driver"], ready["platform"])
