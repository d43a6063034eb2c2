"""Products whose matrix is chosen for each row: mixtures of experts."""
