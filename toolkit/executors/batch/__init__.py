"""Several texts side by side: plans of `--batch N`."""
