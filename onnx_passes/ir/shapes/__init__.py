"""Rules of shape inference beside the library's, and what was inferred before."""
