"""Networks whose weights lie in flash, as kernels over records."""
