"""From the graph as it came to the one that is lowered, or an error that says what stops it."""
