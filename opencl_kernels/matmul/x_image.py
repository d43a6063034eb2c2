"""Which products read x as an image, besides as a buffer (x_image.clh)."""

from __future__ import annotations

from dataclasses import replace

from opencl_kernels.kernel import Knobs, Requires
from opencl_kernels.matmul.matmul import Product

TEXEL = 8  # halves: x is read by so many


def images(case: Product, knobs: Knobs) -> tuple[str, ...]:
    """What a launch reads as images: x, where the knob says so and rows are whole texels.

    What a norm is to make of x first is read once, and in floats.
    """
    whole = all(size % TEXEL == 0 for size in (case.K, case.LDX, case.X0))
    return ("x",) if knobs["X_IMAGE"] and whole and case.x == "f16" and not case.normed else ()


def with_images(needs: Requires, names: tuple[str, ...]) -> Requires:
    """What a launch needs, with the images that it reads."""
    features = (*needs.features, "images") if names else needs.features
    return replace(needs, features=features, images=names)
