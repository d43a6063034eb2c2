"""Records of a table in flash: their layout, and kernels over those that memory holds."""
