"""From a source model to a plan: passes, lowering, memory, weights."""
