"""What kernels are tested with at a driver's first use: made-up inputs, and what comes of them."""
