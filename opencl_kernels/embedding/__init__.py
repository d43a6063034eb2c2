"""Rows of the table of tokens."""
