"""Weights in flash: which records a token needs, which stay in memory, and what reading costs."""
