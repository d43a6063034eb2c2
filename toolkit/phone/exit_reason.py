"""Why a program on a phone ended: exit codes in words."""

from collections.abc import Sequence

from toolkit.errors import PocketError
from toolkit.phone.about import about
from toolkit.phone.adb import Phone
from toolkit.phone.layout import MiB

SIGNAL = 128  # the shell's exit code of a program that a signal ended is 128 + its number
SIGHUP, SIGILL, SIGABRT, SIGBUS, SIGKILL, SIGSEGV, SIGTERM = 1, 4, 6, 7, 9, 11, 15
CRASHES = {
    SIGILL: "an instruction that its processor doesn't know",
    SIGABRT: "an assertion of the driver (SIGABRT)",
    SIGBUS: "a wrong memory access (SIGBUS)",
    SIGSEGV: "a wrong memory access (SIGSEGV)",
}


def explain(phone: Phone, code: int, said: Sequence[str], doing: str) -> PocketError:
    """The error for a runner that ended there.

    code   of adb: the program's own, or 128 + a signal
    said   the last lines of its stderr
    doing  what the runner's journal says it was at
    """
    phone.check_connection("\n".join(said))
    how = f"exit code {code}"
    at = f" while it was {doing}" if doing else ""
    text = "\n".join(filter(None, said))
    if "CANNOT LINK EXECUTABLE" in text:
        what, why = "the runner can't be loaded", how
        hint = "report this with the text above; POCKETCL_PHONE_RUNNER names another runner"
    elif code in (126, 127):
        what = "the runner can't be started" if code == 126 else "the runner is not there"
        why, hint = how, "pocketcl phone clean --all, then again"
    elif code == SIGNAL + SIGKILL:
        what, why = f"the runner was killed{at}", f"{how}: memory ran out{_free(phone)}"
        hint = "close apps; a smaller --max-context, --weights e0m4, or a smaller model"
    elif code - SIGNAL in CRASHES:
        what, why = f"the OpenCL driver crashed{at}", f"{how}: {CRASHES[code - SIGNAL]}"
        hint = "the same run with --on host shows whether the plan is sound; a system update"
    elif code in (SIGNAL + SIGHUP, SIGNAL + SIGTERM):
        what, why, hint = "the runner was ended", f"{how}: somebody, or adb, told it to", "again"
    else:
        what, why = f"the runner ended unexpectedly{at}", how
        hint = f"pocketcl doctor --serial {phone.serial}"
    return PocketError(f"{what}, on {phone.model}", "\n".join(filter(None, [why, text])), hint)


def _free(phone: Phone) -> str:
    """What the phone says of its memory now that the runner is gone."""
    free = about(phone).available_bytes
    system = "Android (lmkd) or the kernel ends the largest program then"
    return f"; {system}. Without it {free / MiB:,.0f} MiB are free" if free else f"; {system}"


def task_of(journal: str) -> str:
    """What a runner was at: of "PROCESS TASK KEY WORDS…" in its journal (journal.h) the words."""
    words = journal.partition("\n")[0].split(" ", 3)
    return words[3] if len(words) == 4 else ""
