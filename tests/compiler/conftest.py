"""The toy's plan, to be read and changed."""

from toy_plan import edit, own_plan, plan_path

__all__ = ["edit", "own_plan", "plan_path"]
