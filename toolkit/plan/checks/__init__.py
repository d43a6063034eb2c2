"""What the parts of a plan must be; `toolkit/plan/check.py` runs all of it."""
