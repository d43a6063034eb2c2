"""The plan as values and as JSON: read, check, load, write, expressions, state files."""
