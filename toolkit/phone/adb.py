"""Phones by adb: run commands there, copy files in both directions.

Everything goes through Google's own `adb`: its server knows USB, pairing and every version of the
daemon on the phone. Commands use its shell protocol 2 (`shell -T`), which carries an exit code and
keeps stdout and stderr apart; phones have it since Android 7.
"""

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import PocketError
from toolkit.phone.adb_program import Done, adb, run_adb

ADB_SAYS = re.compile(
    r"^(adb: |error: |\* )", re.MULTILINE
)  # messages of adb itself, not of the phone
# adb's states of phones that can't be used yet -> what they mean, and what to do.
UNUSABLE = {
    "unauthorized": (
        "it doesn't trust this computer yet",
        "unlock it and accept the dialog 'Allow USB debugging?'",
    ),
    "authorizing": (
        "it is asking whether to trust this computer",
        "unlock it and accept the dialog",
    ),
    "offline": (
        "it is connected, but doesn't answer",
        "unplug it and plug it in again; over Wi-Fi run adb disconnect, then adb connect HOST:PORT",
    ),
    "no permissions": (
        "this user may not open the USB device",
        "apt-get install android-sdk-platform-tools-common (udev rules), then plug it in again",
    ),
    "recovery": ("it is in recovery mode", "run adb reboot"),
    "sideload": ("it is waiting for an update", "run adb reboot"),
    "bootloader": ("it is in its boot loader", "run fastboot reboot"),
}
STATES = "|".join(["device", *UNUSABLE, r"[a-z]+"])
LINE = re.compile(rf"(\S+|\S.*?\S)\s+({STATES})\b(.*)")
NO_PHONE = (
    "on the phone: Settings > About phone > tap 'Build number' seven times, then System > Developer"
    " options > USB debugging; plug it in. Without a cable: pocketcl phone pair"
)


@dataclass(frozen=True)
class Seen:
    """A line of `adb devices`: `state` is "device" when the phone can be used."""

    serial: str
    state: str
    model: str = ""


class Phone:
    """A phone that adb reaches."""

    def __init__(self, serial: str, model: str = "") -> None:
        self.serial, self.model = serial, model or serial

    def run(self, command: str, timeout: float = 60, text: str = "") -> Done:
        """Run a command in the phone's shell, with `text` on its stdin; accepts any exit code."""
        done = self._adb("shell", "-T", command, timeout=timeout, text=text)
        if done.code and ADB_SAYS.search(done.err):
            self.check_connection(done.err)
        return done

    def shell(self, command: str, timeout: float = 60, check: bool = True, text: str = "") -> str:
        """The stdout of a command; `check`: raise if its exit code is not 0."""
        done = self.run(command, timeout, text)
        if check and done.code:
            said = done.err.strip() or done.out.strip()[-500:]
            because = "\n".join(filter(None, [f"exit code {done.code}", said]))
            what = f"a command failed on {self.model}: {command[:120]}"
            raise PocketError(what, because, f"run pocketcl doctor --serial {self.serial}")
        return done.out

    def start(self, command: str) -> subprocess.Popen[str]:
        """Start a command with its three streams as pipes; closing stdin reaches the phone, too."""
        return subprocess.Popen(
            [*adb(), "-s", self.serial, "shell", "-T", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C in the terminal must not reach adb
        )

    def push(self, sources: Sequence[Path], target: str, timeout: float = 3600) -> None:
        """Copy files to the phone; if `target` is a folder, into it."""
        done = self._adb("push", *map(str, sources), target, timeout=timeout)
        if done.code:
            names = ", ".join(source.name for source in sources[:3])
            names += f" and {len(sources) - 3} more" if len(sources) > 3 else ""
            self._copy_failed(f"{names} could not be copied to {self.model}", done)

    def pull(self, source: str, target: Path, timeout: float = 3600) -> None:
        """Copy a file from the phone."""
        done = self._adb("pull", source, str(target), timeout=timeout)
        if done.code:
            self._copy_failed(f"{source} could not be copied from {self.model}", done)

    def state(self) -> str:
        """adb's word for it: "device" if it can be used, "" if it is not connected."""
        return next((seen.state for seen in all_phones() if seen.serial == self.serial), "")

    def check_connection(self, said: str = "") -> None:
        """Raise Gone if the phone can no longer be reached."""
        state = self.state()
        if state == "device":
            return
        how = unusable(state)[0] if state else "adb no longer lists it"
        because = "\n".join(filter(None, [f"unplugged? {how}", *_own_words(said)]))
        raise Gone(
            f"{self.model} ({self.serial}) went away",
            because,
            "connect it and repeat the command: files that arrived are not copied again",
        )

    def _copy_failed(self, what: str, done: Done) -> None:
        self.check_connection(done.err)
        said = "\n".join(_own_words(done.err + done.out)) or f"adb ended with {done.code}"
        if "No space left" in said:
            raise PocketError(what, f"its storage is full\n{said}", "run pocketcl phone clean")
        raise PocketError(what, said, f"run pocketcl doctor --serial {self.serial}")

    def _adb(self, *words: str, timeout: float, text: str = "") -> Done:
        try:
            return run_adb("-s", self.serial, *words, timeout=timeout, text=text)
        except subprocess.TimeoutExpired:
            self.check_connection()
            raise PocketError(
                f"{self.model} doesn't answer",
                f"`adb {words[0]}` took more than {timeout:.0f} s",
                "unlock or restart the phone, or run adb kill-server",
            ) from None


class Gone(PocketError):
    """The phone is not connected any more."""


def all_phones() -> list[Seen]:
    """The phones that adb lists, usable or not; starts adb's server if none is running."""
    done = run_adb("devices", "-l")
    if done.code:
        because = "\n".join(_own_words(done.err)) or f"exit code {done.code}"
        hint = "run adb kill-server, then adb start-server; another program may use port 5037"
        raise PocketError("adb's server can't be reached", because, hint)
    lines = done.out.partition("List of devices attached")[2].splitlines()
    return [seen for line in lines if (seen := _seen(line))]


def find_phone(serial: str | None = None) -> Phone:
    """The phone of this serial, by default $ANDROID_SERIAL; without either the only phone."""
    serial = serial or os.environ.get("ANDROID_SERIAL") or None
    seen = all_phones()
    found = [phone for phone in seen if serial in (None, phone.serial)]
    if not found:
        raise _missing(serial, seen)
    usable = [phone for phone in found if phone.state == "device"]
    if len(usable) > 1:
        names = ", ".join(f"{phone.serial} ({phone.model})" for phone in usable)
        because = f"adb lists {names}"
        raise PocketError(f"{len(usable)} phones are connected", because, "name one with --serial")
    if not usable:
        phone = found[0]
        why, hint = unusable(phone.state)
        name = phone.model or phone.serial
        raise PocketError(f"{name} can't be used yet", why, hint)
    return Phone(usable[0].serial, usable[0].model)


def unusable(state: str) -> tuple[str, str]:
    """What a state of adb means, and what to do."""
    return UNUSABLE.get(state, (f"adb calls it '{state}'", "run adb reconnect"))


def usable_phones() -> list[Phone]:
    """Every phone that can be used now."""
    return [Phone(seen.serial, seen.model) for seen in all_phones() if seen.state == "device"]


def _seen(line: str) -> Seen | None:
    """A line of `adb devices -l`; serials from mDNS may contain spaces."""
    if (found := LINE.match(line)) is None:
        return None
    facts = dict(word.split(":", 1) for word in found[3].split() if ":" in word)
    return Seen(found[1], found[2], facts.get("model", ""))


def _missing(serial: str | None, seen: Sequence[Seen]) -> PocketError:
    if serial is None:
        return PocketError("no phone is connected", "adb lists none", NO_PHONE)
    listed = ", ".join(phone.serial for phone in seen) or "none"
    hint = "list them with pocketcl devices" if seen else NO_PHONE
    return PocketError(f"no phone has the serial {serial}", f"adb lists {listed}", hint)


def _own_words(text: str) -> list[str]:
    """The lines of adb's output that name an error."""
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if ADB_SAYS.match(line) or "error" in line.lower()][:3]
