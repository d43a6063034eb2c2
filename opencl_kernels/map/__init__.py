"""Movement and elementwise arithmetic."""
