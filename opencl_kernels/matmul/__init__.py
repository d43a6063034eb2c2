"""Products with a weight: many rows, one row, floats, codes."""
