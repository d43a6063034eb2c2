"""Phases of a plan on pyopencl: the readable twin of the runner's executor."""
