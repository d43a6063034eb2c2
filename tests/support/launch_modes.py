"""In which mode a runner launches decode steps, and whether the driver can."""

from __future__ import annotations

from typing import Any

from needed import absent
from talk import Talk

# Mode -> how the runner begins to say that the driver has nothing to make it of.
LACKS = {
    "command-buffer": ("the device has no cl_khr_command_buffer",),
    "cooperative": ("the device is no CPU", "only of PoCL it is known"),
}


def modes(talk: Talk) -> dict[str, Any]:
    """What was chosen and why, and what was refused."""
    return dict(talk.stats()["recorded"]["decode"])


def skip_without(talk: Talk, mode: str) -> None:
    """Skip a test on a driver that has nothing to make the mode of: not where another reason is."""
    refused = modes(talk)["refused"].get(mode, "")
    if refused.startswith(LACKS[mode]):
        absent(refused)


def in_mode(talk: Talk, mode: str) -> Talk:
    """A runner that was told to use a mode, and does."""
    if mode in LACKS:
        skip_without(talk, mode)
    assert modes(talk)["chosen"] == mode, modes(talk)
    return talk
