"""What takes elements in order: sums along a row, its first k, updates by index."""
