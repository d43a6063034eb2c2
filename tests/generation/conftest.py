"""A plan and its executor, both made up."""

from fake_plan import executor, plan

__all__ = ["executor", "plan"]
