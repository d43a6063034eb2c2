"""Where PocketCL keeps the user's caches and device profiles (XDG folders)."""

import atexit
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from toolkit.own_files import make_own_folder, weakness

PLAN_FILE = "plan.json"  # every plan's folder has one


def cache_dir() -> Path:
    """`$XDG_CACHE_HOME/pocketcl`: everything in it can be deleted at any time.

    It holds programs that are run. If others can change it, a note on stderr says so, and a folder
    that only the user can change is used instead.
    """
    return _safe(cache_home())


def cache_home() -> Path:
    """Where the cache should be, safe or not."""
    return _base("XDG_CACHE_HOME", ".cache") / "pocketcl"


def warm_dir() -> Path:
    """`$XDG_CACHE_HOME/pocketcl/warm`: what plans had in memory when their last runs ended."""
    return cache_dir() / "warm"


def config_dir() -> Path:
    """`$XDG_CONFIG_HOME/pocketcl`: the user's own device profiles."""
    return _base("XDG_CONFIG_HOME", ".config") / "pocketcl"


def unsafe(path: Path, why: str, instead: str) -> str:
    """The note about a part of the cache that others can change."""
    hint = "remove it, or set XDG_CACHE_HOME to a folder that only you can write to"
    return f"note: {path} is not used, because {why}; {instead}: {hint}"


@cache
def _safe(wanted: Path) -> Path:
    """The folder, made if it is missing; or the one that is used instead of it."""
    with suppress(OSError):  # a later write into it reports the error
        make_own_folder(wanted)
    why = weakness(wanted)
    if not why:
        return wanted
    other = Path(tempfile.gettempdir(), f"pocketcl-{os.geteuid()}")
    make_own_folder(other)
    if weakness(other):
        other = Path(tempfile.mkdtemp(prefix="pocketcl-"))
        atexit.register(shutil.rmtree, other, ignore_errors=True)
    print(unsafe(wanted, why, f"{other} is used instead"), file=sys.stderr)
    return other


def _base(variable: str, default: str) -> Path:
    value = os.environ.get(variable, "")
    # The standard says that relative paths are to be ignored.
    return Path(value) if os.path.isabs(value) else Path.home() / default
