"""The device that kernels are tested on."""

from launches import queue

__all__ = ["queue"]
