"""From nodes to dispatches."""
