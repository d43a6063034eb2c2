"""Attention over the KV cache, and what writes it."""
