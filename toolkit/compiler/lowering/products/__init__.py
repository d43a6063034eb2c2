"""Products with constant matrices: how they are launched, and what they take over."""
