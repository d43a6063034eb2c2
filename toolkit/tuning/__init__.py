"""Find faster knobs for the kernels of a plan."""
