"""A header for a text has what the text names, and what macros make of its words."""

from __future__ import annotations

from pathlib import Path

import pytest
from opencl_header import Header

WHOLE = r"""
#ifndef _OPENCL_H_
#include "opencl-c-base.h"
/* float none(float); */
// a comment that goes \
   on: float none(float);
#define __ovld __attribute__((overloadable))
#if defined(A) && \
    defined(B)
float __ovld both(float x,
                  float y);
#endif
float16 __ovld convert_float16(int16);
float16 __ovld convert_float16_rte(int16);
#endif
"""


@pytest.mark.parametrize(
    ("text", "functions"),
    [
        ("x = other(y); // none", []),
        ("x = both(y, z);", ["both"]),
        ("x = convert_float16(y);", ["convert_float16"]),
        ("x = JOIN(convert_float, 16)(y);", ["convert_float16"]),
        ("#define TO(type) convert_##type", ["convert_float16"]),
        ("x = convert_float16_rte(y);", ["convert_float16_rte"]),
    ],
)
def test_what_a_text_names_is_declared(tmp_path: Path, text: str, functions: list[str]) -> None:
    (tmp_path / "opencl-c.h").write_text(WHOLE)
    found = Header(tmp_path / "opencl-c.h").of(text)
    names = ("none", "both", "convert_float16", "convert_float16_rte")
    assert [name for name in names if f" {name}(" in found] == functions
    assert found.count("#if") == found.count("#endif") == 2 and "#include" not in found
    assert "__attribute__" in found and ("float y);" in found) == ("both" in functions)
