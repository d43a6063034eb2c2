"""What a launch costs on a GPU, counted: a kernel's LLVM IR, run in waves of items on a CPU."""
