"""What a plan takes of memory, and what of a model must stay in flash so that it takes less."""
