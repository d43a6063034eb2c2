"""Offsets of the scratch tensors of a phase in its arena."""
