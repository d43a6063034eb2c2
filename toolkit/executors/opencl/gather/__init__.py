"""The step gather on pyopencl: what it reads, keeps and reads ahead."""
