"""What leaving out parts of a model's networks would cost and save, before it is compiled."""
