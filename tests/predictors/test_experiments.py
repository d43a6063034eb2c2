"""Pieces of the experiments that README tells of, on cases by hand."""

from __future__ import annotations

import flash_experiments
import numpy as np
import passed_models
import pytest
from exports import COLLECTION
from needed import here
from predictor_experiments import Features, Following, early, judged, mapped, most_frequent, unit
from record_experiments import (
    Reads,
    codecs,
    entropy,
    frequency_order,
    likeness,
    reads_in_order,
    reads_of_pairs,
    record_bytes,
    squeezed,
    together_order,
)

from onnx_passes.weights import e0m4
from toolkit.offload.flash_model import Flash

FLASH = Flash("hand", 0.5e-6, 4096e6)  # half a µs a request, one a page: no gap is worth it


def test_entropy_is_bits_of_order_0() -> None:
    assert entropy(np.array([3, 3, 3])) == 0
    assert entropy(np.arange(16)) == pytest.approx(4)
    assert entropy(np.array([0, 0, 1, 2])) == pytest.approx(1.5)


def test_a_record_has_codes_then_scales_then_zero_points() -> None:
    rng = np.random.default_rng(0)
    parts = [e0m4.quantize(rng.standard_normal((3, 64)).astype(np.float32), 32) for _ in "ud"]
    record = record_bytes(parts)[1]
    assert record.shape == (2 * (32 + 2 * 3),)
    first, second = parts
    assert record[0] == first.codes_NK[1, 0] | first.codes_NK[1, 1] << 4
    assert np.array_equal(record[64:68].view(np.float16), first.scale_NG[1])
    assert second.zero_NG is not None and np.array_equal(record[74:], second.zero_NG[1])


def test_what_codecs_give_back_is_what_they_got() -> None:
    data = bytes(range(7)) * 65
    for pack, unpack in codecs().values():
        assert len(pack(data)) < len(data) and unpack(pack(data), len(data)) == data


def test_no_codec_of_order_0_goes_below_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("record_experiments.LONG_S", 1e-4)
    matrix = np.random.default_rng(1).standard_normal((63, 64)).astype(np.float32)
    found = squeezed([[matrix, matrix[::-1]]])
    assert found.size == 76 and 3.5 < found.code_bits < 4
    assert found.bound < found.ans == pytest.approx(found.bound + 4 / 76)
    assert all(alone > whole for whole, alone, _ in found.left.values())


def test_neighbours_are_those_that_fire_together() -> None:
    active = np.array(  # 0 always; 1 and 3 together, 2 and 4 together
        [[1, 1, 0, 1, 0], [1, 1, 0, 1, 0], [1, 0, 1, 0, 1], [1, 1, 0, 0, 0]], bool
    )
    assert frequency_order(active).tolist() == [0, 1, 3, 2, 4]
    assert likeness(active)[1].tolist() == pytest.approx([3 / 4, -1, 0, 2 / 3, 0])
    assert together_order(active, 1).tolist() == [0, 1, 3, 2, 4]
    assert together_order(active[:, [0, 1, 2, 4, 3]], 1).tolist() == [0, 1, 4, 2, 3]


def test_reads_by_order() -> None:
    active = np.array([[1, 1, 0, 1], [0, 0, 0, 0]], bool)
    page = 4096, 4096, FLASH
    apart, near = np.array([0, 1, 2, 3]), np.array([0, 1, 3, 2])
    assert reads_in_order(active, apart, 0, *page) == _half(2, 3 * 4096, 4e-6)
    assert reads_in_order(active, near, 0, *page) == _half(1, 3 * 4096, 3.5e-6)
    assert reads_in_order(active, near, 1, *page) == _half(1, 2 * 4096, 2.5e-6)
    friends = np.array([1, 0, 3, 2])
    # 0 brings 1; 3 stands behind the record of 2
    assert reads_of_pairs(active, friends, apart, 0, 4096, FLASH) == _half(2, 4 * 4096, 5e-6)


def _half(reads: int, bytes_: int, seconds: float) -> Reads:
    """Of two tokens, of which one needs nothing."""
    return Reads(reads / 2, bytes_ / 2, pytest.approx(seconds / 2))


def test_a_threshold_follows_what_whole_tokens_tell() -> None:
    scores, active = np.array([[1.0, 3.0, 0.0]]), np.array([[True, True, False]])
    one = Following(2.0, 1.0, 0.9, every=2)
    assert one.mask(scores, active).tolist() == [[False, True, False]]
    assert one.threshold == 2  # nobody knows what that token has missed
    assert one.mask(scores, active).all()  # a whole one: half is missed, 0.1 may be
    assert one.threshold == pytest.approx(2 - 0.5 * 0.4)
    one.mask(scores[:, ::-1].repeat(2, 0), np.zeros((2, 3), bool))
    assert one.threshold == pytest.approx(1.8)  # none was active


def test_it_comes_to_the_recall_of_another_text() -> None:
    rng = np.random.default_rng(2)
    scores = rng.standard_normal((1024, 65))
    one = Following(1.0, 0.5, 0.9, every=1)
    one.mask(scores, scores + rng.standard_normal(scores.shape) > 1)
    active = scores + rng.standard_normal(scores.shape) > 1
    assert float((scores > one.threshold)[active].mean()) == pytest.approx(0.9, abs=0.03)


def test_a_predictor_of_features_that_tell_all_is_that_of_the_input() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((300, 32)).astype(np.float32) + 1
    weight = (rng.standard_normal((63, 16)) @ rng.standard_normal((16, 32))).astype(np.float32)
    bias = rng.standard_normal(63).astype(np.float32)
    turned = np.linalg.qr(rng.standard_normal((32, 32)))[0]
    active = x @ weight.T + bias > 0
    found, mean = mapped(weight, bias, Features(x, x @ turned + 7, active), 16, 0.95)
    scores, told = judged(found, mean, Features(x, x @ turned + 7, active))
    assert told.recall >= 0.95 and told.predicted_over_true < 1.1
    assert scores.shape == active.shape
    nothing = rng.standard_normal((300, 32))
    blind, mean = mapped(weight, bias, Features(x, nothing, active), 16, 0.95)
    assert judged(blind, mean, Features(x, nothing, active))[1].predicted_over_true > 1.4


def test_what_is_read_early() -> None:
    scores = np.array([[9, 5, 0, 7, 1]], np.float32)
    needed = np.array([[1, 1, 1, 0, 0]], bool)
    resident = most_frequent(np.array([[1, 0, 0, 0, 0]], bool), 0.2)
    assert resident.tolist() == [True, False, False, False, False]
    found = early(scores, 2, needed, resident)
    assert (found.found, found.useful) == (0.5, 0.5)  # of 1 and 2; of 3 and 1
    assert found.idle == 1  # 3 is read first, in vain: two reads, as many as are missed
    assert early(scores, 2, needed, resident, 0.6).idle == float("inf")
    assert early(scores, -1, needed, resident, 0.6).idle == 2
    assert early(scores, 10, needed, resident).found == 0


def test_rows_of_one_size() -> None:
    assert unit(np.array([[3.0, -3.0], [0, 0]])).tolist() == [[1, -1], [0, 0]]


@pytest.mark.slow
@pytest.mark.parametrize("name", flash_experiments.RELU)
def test_a_model_that_texts_have_passed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for what, count in (("SIZE", 32), ("FITTED", 256), ("JUDGED", 64)):
        monkeypatch.setattr(passed_models, what, count)
    texts = [here(COLLECTION / "text" / text) for text in flash_experiments.TEXTS]
    model = passed_models.passed(here(COLLECTION / flash_experiments.MODELS[name]), texts)
    for text in range(len(texts)):
        dense = model.losses[text, passed_models.DENSE]
        again = model.outcomes[text, passed_models.AGAIN]
        assert len(again) == len(model.layers) == 4
        assert all(each.recall > passed_models.RECALL - 0.005 for each in again)  # sums differ
        assert model.losses[text, passed_models.AGAIN] == pytest.approx(dense, rel=0.1)
    for tell in (flash_experiments.online, flash_experiments.before):
        assert len({row.count("|") for row in tell(name, model)}) == 1
