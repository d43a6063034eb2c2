"""How long a dispatch takes on a device: what it moves and computes, at the rates it reaches."""
