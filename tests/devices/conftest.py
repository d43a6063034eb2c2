"""Toys, whose plans meet drivers' faults."""

from runner_fixtures import toy

__all__ = ["toy"]
