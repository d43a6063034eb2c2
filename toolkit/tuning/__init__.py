"""Which knobs of kernels are faster."""
