"""Why a runner on a phone ended: the error for its exit code."""

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
    """The error for a runner that ended.

    code   of adb: the program's own, or 128 + a signal
    said   the last lines of its stderr
    doing  its task when it ended, by its journal
    """
    phone.check_connection("\n".join(said))
    how = f"exit code {code}"
    at = f" while it was {doing}" if doing else ""
    text = "\n".join(filter(None, said))
    if "CANNOT LINK EXECUTABLE" in text:
        what, why = "the runner can't be loaded", how
        hint = "report this with the text above, or name another runner in POCKETCL_PHONE_RUNNER"
    elif code in (126, 127):
        what = "the runner can't be started" if code == 126 else "the runner is not there"
        why, hint = how, "run pocketcl phone clean --all, then try again"
    elif code == SIGNAL + SIGKILL:
        what, why = f"the runner was killed{at}", f"{how}: memory ran out{_free(phone)}"
        hint = "close apps, or compile with a smaller --max-context or --weights e0m4"
    elif code - SIGNAL in CRASHES:
        what, why = f"the OpenCL driver crashed{at}", f"{how}: {CRASHES[code - SIGNAL]}"
        hint = "repeat the run with --on host to see whether the plan is sound; update the system"
    elif code in (SIGNAL + SIGHUP, SIGNAL + SIGTERM):
        what, why = "the runner was ended", f"{how}: somebody, or adb, ended it"
        hint = "run the command again"
    else:
        what, why = f"the runner ended unexpectedly{at}", how
        hint = f"run pocketcl doctor --serial {phone.serial}"
    return PocketError(f"{what}, on {phone.model}", "\n".join(filter(None, [why, text])), hint)


def _free(phone: Phone) -> str:
    """How a phone that runs out of memory reacts, and how much it has without the runner."""
    free = about(phone).available_bytes
    system = "then Android (lmkd) or the kernel ends the largest program"
    return f"; {system}. Without it {free / MiB:,.0f} MiB are free" if free else f"; {system}"


def task_of(journal: str) -> str:
    """A runner's task: the WORDS of "PROCESS TASK KEY WORDS…" in its journal (journal.h)."""
    words = journal.partition("\n")[0].split(" ", 3)
    return words[3] if len(words) == 4 else ""
