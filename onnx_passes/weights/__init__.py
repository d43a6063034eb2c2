"""Weights as tensors that are read when they are needed: floats and codes."""
