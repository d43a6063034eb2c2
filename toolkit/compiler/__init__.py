"""Source, passes, lowering, memory, plan."""
