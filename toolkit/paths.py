"""Where PocketCL keeps what is the user's: caches and own device profiles (XDG folders)."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """`$XDG_CACHE_HOME/pocketcl`: everything in it can be deleted at any time."""
    return _base("XDG_CACHE_HOME", ".cache") / "pocketcl"


def config_dir() -> Path:
    """`$XDG_CONFIG_HOME/pocketcl`: the user's own device profiles."""
    return _base("XDG_CONFIG_HOME", ".config") / "pocketcl"


def _base(variable: str, default: str) -> Path:
    value = os.environ.get(variable, "")
    # The standard says that relative paths are to be ignored.
    return Path(value) if os.path.isabs(value) else Path.home() / default
