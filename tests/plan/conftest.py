"""Toys for both loaders, to be read, written and damaged; and a plan that is made up."""

from fake_plan import plan
from runner_fixtures import program, toy
from toy_plan import edit, numpy_toy, own_plan, plan_path, sources, write

__all__ = [
    "edit",
    "numpy_toy",
    "own_plan",
    "plan",
    "plan_path",
    "program",
    "sources",
    "toy",
    "write",
]
