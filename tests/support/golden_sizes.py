"""What sizes in reverse Polish mean: both executors must agree with every line.

A line: the code; bounds of its symbols; (low, high, divisor) over that box, or None where the plan
is refused; and values at points, None where there is none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

LARGE = 2**62
SEQ: dict[str, tuple[int, int]] = {"seq": (1, 256)}
TEXT = {"past": (0, 9), "seq": (1, 70)}
ONE = {"past": (0, 4095), "seq": (1, 1)}


class Size(NamedTuple):
    code: Any
    box: dict[str, tuple[int, int]]
    bounds: tuple[int, int, int] | None
    at: tuple[tuple[tuple[int, ...], int | None], ...] = ()  # the box's symbols in its order


GOLDEN = (
    Size(7, {}, (7, 7, 7), (((), 7),)),
    Size([0], {}, (0, 0, 0)),
    Size(["seq"], SEQ, (1, 256, 1), (((13,), 13),)),
    Size(["seq"], {"seq": (64, 64)}, (64, 64, 64)),
    # monotone: the bounds are met
    Size(["seq", 63, "+", 64, "//"], SEQ, (1, 4, 1), (((64,), 1), ((65,), 2))),
    Size(["seq", 63, "+", 64, "//", 64, "*"], SEQ, (64, 256, 64), (((1,), 64), ((65,), 128))),
    Size(["past", "seq", "+", 96, "*"], TEXT, (96, 7584, 96), (((9, 70), 7584),)),
    Size(["seq", 96, "*", 32, "//"], SEQ, (3, 768, 3), (((5,), 15),)),
    Size([0, 0, "seq", "-", 4, "//", "-"], SEQ, (1, 64, 1), (((5,), 2), ((4,), 1))),
    # of one symbol that has one value
    Size(["seq", 7, "+", 8, "*"], ONE, (64, 64, 64)),
    Size(["past", 64, "//", "seq", "+", 64, "*"], ONE, (64, 4096, 64), (((4095, 1), 4096),)),
    # not monotone: what lies between the corners is larger, or no multiple
    Size(["seq", 8, "%", 4, "*"], SEQ, (0, 28, 4), (((256,), 0), ((1,), 4), ((255,), 28))),
    Size(["seq", 8, "%", 4, "*"], {"seq": (1, 5)}, (4, 20, 4)),
    Size([70, "seq", "-", "seq", "*"], TEXT, (0, 4830, 1), (((0, 35), 1225),)),
    Size([8, "seq", "seq", "*", 16, "%", "+"], SEQ, (8, 23, 1), (((4,), 8), ((3,), 17))),
    Size(["seq", 5, "min", 3, "max"], SEQ, (3, 5, 1), (((4,), 4),)),
    Size(["seq", 64, "*", 128, "max"], SEQ, (128, 16384, 64), (((1,), 128), ((3,), 192))),
    Size(["seq", 64, "*", 96, "min"], SEQ, (64, 96, 32), (((1,), 64), ((2,), 96))),
    Size(["seq", 12, "*", "past", "%"], {"past": (8, 8), "seq": (1, 9)}, (0, 7, 4)),
    Size(["seq", "past", "//"], {"past": (2, 5), "seq": (1, 70)}, (0, 35, 1), (((3, 70), 23),)),
    # negative
    Size([3, "seq", "-"], TEXT, (-67, 2, 1), (((0, 70), -67),)),
    Size([3, "seq", "-", 2, "//"], TEXT, (-34, 1, 1), (((0, 70), -34), ((0, 4), -1))),
    Size([3, "seq", "-", 5, "%"], TEXT, (0, 4, 1), (((0, 4), 4),)),
    Size(["seq", -2, "//"], SEQ, (-128, -1, 1), (((3,), -2),)),
    Size([0, "seq", 5, "*", "-", -3, "//"], SEQ, (1, 426, 1), (((1,), 1),)),
    # refused: division by what may be zero, a modulus that may be below one
    Size(["seq", "past", "//"], TEXT, None, (((0, 3), None), ((2, 3), 1))),
    Size(["seq", 2, "past", "-", "//"], TEXT, None, (((2, 3), None), ((3, 3), -3))),
    Size(["seq", "past", "%"], TEXT, None, (((0, 3), None), ((2, 3), 1))),
    Size(["seq", -3, "%"], SEQ, None, (((4,), -2),)),
    # refused: what may leave 64 bits
    Size(["seq", LARGE, "*"], SEQ, None, (((1,), LARGE), ((2,), None))),
    Size(["seq", LARGE, "*", LARGE, "-"], {"seq": (1, 1)}, (0, 0, 0)),
    Size([LARGE, "seq", "seq", "*", "seq", "*", "seq", "*", "seq", "*", "*"], SEQ, None),
    Size([0, "seq", LARGE, "*", "-"], {"seq": (0, 2)}, None, (((2,), None), ((1,), -LARGE))),
    Size(["seq", 2**40, "*"], SEQ, (2**40, 2**48, 2**40), (((2,), 2**41),)),
)
MALFORMED: tuple[Any, ...] = (
    *([], ["+"], [1, "+"], [1, 2], [1, 2, "+", "-"], ["other"], [[1]], 1.5, None, "seq", True),
    *([True], [None], [1.5], [2**64], [*range(33), *["+"] * 32]),
)
