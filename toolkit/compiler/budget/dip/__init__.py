"""Networks that are computed in part: by which density, and what counts in memory."""
