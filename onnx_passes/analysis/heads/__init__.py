"""Heads of attention: where they come from, and the norms and rotations that they go through."""
