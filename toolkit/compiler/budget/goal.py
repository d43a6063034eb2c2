"""What a plan is to be: how much memory it may take, or how fast it must be."""

from toolkit.errors import PocketError
from toolkit.offload.flash_model import flash as known_flash


def check_goal(
    memory: str | None, rate: float | None, flash: str | None, calibration: object
) -> None:
    """Raise unless what a plan is to be is said once, and can be predicted."""
    if flash is not None:
        known_flash(flash)
    if rate is not None and not 0 < rate < float("inf"):
        because = "it is tokens a second, more than 0"
        raise PocketError(f"--rate {rate} is no rate", because, "write --rate 5")
    if rate is not None and memory is not None:
        because = "each says how much memory there is to be"
        raise PocketError("--rate and --memory don't go together", because, "leave one out")
    for option, given in (("--rate", rate), ("--flash", flash)):
        if given is not None and calibration is None:
            because = "what is read of a token is predicted from a calibration"
            hint = "add --calibration DIR (pocketcl calibrate MODEL --text FILE)"
            raise PocketError(f"{option} goes with --calibration", because, hint)
