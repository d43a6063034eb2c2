"""The runner's program, plans for it, and runners that tests start."""

from fatal_toy import driver, fatal, log
from runner_fixtures import cache, demo, fake_driver, program, start, toy

__all__ = ["cache", "demo", "driver", "fake_driver", "fatal", "log", "program", "start", "toy"]
