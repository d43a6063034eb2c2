"""Find and run the adb program on this computer."""

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from toolkit.errors import PocketError

OLDEST = (1, 0, 36)  # of adb: the first with `shell -T` and exit codes of commands on the phone
INSTALL = "apt-get install adb    or  pip install 'pocketcl[android]'"
SDKS = ("~/Android/Sdk", "~/Library/Android/sdk")  # where Android Studio puts its SDK


@dataclass(frozen=True)
class Done:
    """The exit code and output of a command."""

    code: int
    out: str
    err: str


def run_adb(*words: str, timeout: float = 30, text: str = "") -> Done:
    """Run adb on this computer."""
    try:
        done = subprocess.run(
            [*adb(), *words],
            capture_output=True,
            input=text,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
        )
    except OSError as error:
        raise PocketError("adb can't be run", f"{adb()[0]}: {error.strerror}", INSTALL) from None
    return Done(done.returncode, done.stdout, done.stderr)


def adb() -> tuple[str, ...]:
    """The command that starts adb; raises if there is none, or it is too old."""
    program = find_adb()
    if program is None:
        raise PocketError("adb is not installed", "phones are reached through it", INSTALL)
    return (_checked(program),)


@cache
def _checked(program: str) -> str:
    try:
        done = subprocess.run([program, "version"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PocketError("adb can't be run", f"{program}: {error}", INSTALL) from None
    found = re.search(r"version (\d+)\.(\d+)\.(\d+)", done.stdout)
    if found is None:
        said = (done.stderr or done.stdout).strip()[:200]
        raise PocketError(f"{program} is no adb", said or "it prints no version", "unset ADB")
    if tuple(map(int, found.groups())) < OLDEST:
        because = f"{program} is {found[0]}; exit codes need {'.'.join(map(str, OLDEST))}"
        raise PocketError("adb is too old", because, INSTALL)
    return program


def find_adb() -> str | None:
    """The adb program: $ADB, the PATH, an Android SDK's, or the one in the wheel of adbutils."""
    if named := os.environ.get("ADB"):
        return named
    if found := shutil.which("adb"):
        return found
    roots = [os.environ.get(name, "") for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT")]
    paths = [Path(root) / "platform-tools/adb" for root in (*filter(None, roots), *SDKS)]
    spec = importlib.util.find_spec("adbutils")  # looked up, not imported
    if spec and spec.origin:
        paths.append(Path(spec.origin).parent / "binaries/adb")
    expanded = (path.expanduser() for path in paths)
    return next((str(path) for path in expanded if os.access(path, os.X_OK)), None)
