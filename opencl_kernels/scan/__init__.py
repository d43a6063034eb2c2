"""What goes along a row or a list in order: prefix sums, the first k of a row, scattered updates."""
