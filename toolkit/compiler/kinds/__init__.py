"""The kinds of model, each with its buffers and phases."""
