"""How much memory a plan may take: as it is typed, and in bytes."""

import re

from toolkit.errors import PocketError

SCALES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}
_NUMBER = r"([0-9]{1,18}(?:\.[0-9]+)?)"  # more digits are a slip
_SIZE = re.compile(_NUMBER + r"\s*([KMG]I?)?B?")
_SHARE = re.compile(_NUMBER + r"\s*%")


def check_memory(text: str) -> str:
    """The text, if it is a size or a share; else raise."""
    bytes_of(text, 10**9)
    return text


def is_share(text: str) -> bool:
    """Whether it is one of the whole, rather than a size."""
    return _SHARE.fullmatch(text.strip()) is not None


def bytes_of(text: str, whole: int) -> int:
    """A size in bytes, as 3G or 800MiB; or a share of `whole`, as 50%."""
    share = _SHARE.fullmatch(text.strip())
    size = _SIZE.fullmatch(text.strip().upper())
    if share is not None:
        found = int(float(share[1]) / 100 * whole)
    else:
        found = int(float(size[1]) * SCALES[size[2] or ""]) if size is not None else 0
    if found < 1:
        raise PocketError(
            f"--memory {text[:40]} is no size",
            "it is a count of bytes with a unit, or a share of what the plan takes without it",
            "write it as --memory 3G, 800M or 50%",
        )
    return found
