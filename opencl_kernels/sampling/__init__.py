"""Choosing the next id."""
