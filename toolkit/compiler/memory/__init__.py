"""Where the scratch tensors of a phase lie in its arena."""
