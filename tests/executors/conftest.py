"""Toys for both executors, the runner's program, and runners that tests start."""

from flash_executors import flash, opened
from runner_fixtures import cache, fake_driver, program, start, toy
from toy_plan import edit, numpy_toy, own_plan, plan_path, write

__all__ = [
    "cache",
    "edit",
    "fake_driver",
    "flash",
    "numpy_toy",
    "opened",
    "own_plan",
    "plan_path",
    "program",
    "start",
    "toy",
    "write",
]
