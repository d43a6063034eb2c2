"""Axes with round numbers, and text that stays inside of its element."""

from xml.etree import ElementTree

import pytest

from toolkit.drawing.svg import Axis, LogAxis, round_step, text, tip


@pytest.mark.parametrize("values", [[0.3, 7.2], [1.0], [0.0], [12345.0, 3.0], [1e-6]])
def test_an_axis_covers_its_values_in_round_steps(values: list[float]) -> None:
    axis = Axis(values, 200, 30)
    assert axis.at(0) == 200 and 30 <= axis.at(max(values)) <= 200
    assert len(axis.ticks()) <= 7 and axis.ticks()[-1] >= max(values) * (1 - 1e-9)
    assert round_step(axis.step) == pytest.approx(axis.step)


def test_a_logarithmic_axis_has_whole_decades() -> None:
    axis = LogAxis([0.3, 450.0], 0, 100)
    assert axis.ticks() == [0.1, 1.0, 10.0, 100.0, 1000.0]
    assert axis.at(0.1) == 0 and axis.at(1000.0) == 100 and axis.at(10.0) == 50


def test_words_are_escaped() -> None:
    evil = '</text><script>&"'
    assert ElementTree.fromstring(text(1, 2, evil)).text == evil
    assert ElementTree.fromstring(tip(evil)).text == evil
