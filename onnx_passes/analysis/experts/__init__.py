"""`pocket.Experts`, and the spellings of experts that become it."""
