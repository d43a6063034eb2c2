"""How fast a plan is, and how fast others are."""
