"""The version of PocketCL, for pyproject.toml too."""

__version__ = "0.1.0"
