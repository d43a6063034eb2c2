"""Weights as tensors that are read when they are needed: floats or quantised."""
