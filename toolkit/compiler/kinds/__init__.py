"""What kinds of model there are: the buffers and phases of each."""
