"""The toy that a runner runs."""

from runner_fixtures import toy

__all__ = ["toy"]
