"""The toy's plan, to be read and changed; and the device that kernels are tested on."""

from launches import queue
from toy_plan import edit, own_plan, plan_path

__all__ = ["edit", "own_plan", "plan_path", "queue"]
