"""What a part of the graph computes; nothing is edited."""
