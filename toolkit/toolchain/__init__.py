"""Builds runner programs (c++, NDK, zig) and checks them."""
