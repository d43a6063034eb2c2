"""Tables of what follows from positions, and of which the length of a text chooses one."""
