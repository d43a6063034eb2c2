"""What a model will cost on a device that is not at hand: rates and memory, predicted."""
