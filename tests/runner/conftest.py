"""The runner's program, plans for it, and runners that tests start."""

from runner_fixtures import cache, demo, fake_driver, program, start, toy

__all__ = ["cache", "demo", "fake_driver", "program", "start", "toy"]
