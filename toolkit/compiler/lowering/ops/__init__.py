"""Ops that lower by Views: whatever no kernel of its own computes."""
