"""Mixtures whose router is near a tie: what `verify` judges of their plans, and what it says.

The scores of the made-up decoder depend on a token's place: its near ties are where `router` says.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from expert_graphs import COMPUTED, FFN
from pass_helpers import text
from tiny_decoder import decoder_text

import toolkit
from toolkit.compiler.calibration.reference import Choices
from toolkit.compiler.calibration.routers import Groups, Router
from toolkit.evaluation import judging, near_ties
from toolkit.evaluation.followed import OF_THRESHOLDS, Agreement, Chosen, _agreement, agreed
from toolkit.evaluation.near_ties import first_near_tie
from toolkit.evaluation.verify import lines, verify

CONTEXT, HALF = 32, judging.Bar("f16", 1e-4)
MIXTURE = (
    """placed = Gather(by_place, position_ids)  known = Concat<axis = -1>(y, placed)
  scores = MatMul(known, router)  odds = Softmax<axis = -1>(scores)  gates, chosen = TopK(odds, v2)
"""
    + COMPUTED
    + """  share = Unsqueeze(gates, minus)  weighed = Mul(outputs, share)
  down = ReduceSum<keepdims = 0>(weighed, v2)"""
)
WEIGHTS = (
    "float[36, 4] router, float[32, 4] by_place, float[4, 96, 32] ups, float[4, 32, 48] downs,"
)
CLEAR, NEAR = (1.0, 0.5, 0.25, 0.0), (1.0, 0.5, 0.5001, 0.0)  # halves take expert 1, not 2


def model(ties: tuple[int, ...] = ()) -> ir.Model:
    """The tiny decoder with a mixture of four experts, two of them chosen."""
    made = text(decoder_text().replace(FFN, MIXTURE).replace("float[48, 32] wd,", WEIGHTS))
    scores = np.array([NEAR if place in ties else CLEAR for place in range(CONTEXT)], np.float32)
    change(made, "by_place", scores)
    change(made, "router", np.eye(36, 4, -32, np.float32))
    change(made, "downs", 8 * weights(made, "downs"))  # so that another expert matters
    return made


def weights(made: ir.Model, name: str) -> np.ndarray:
    tensor = made.graph.initializers[name].const_value
    assert tensor is not None
    return tensor.numpy()


def change(made: ir.Model, name: str, value: np.ndarray) -> None:
    made.graph.initializers[name].const_value = ir.tensor(value, name=name)


def saved(made: ir.Model, path: Path) -> Path:
    ir.save(made, path)
    return path


def compiled(folder: Path, ties: tuple[int, ...], floats: str = "f16") -> Path:
    source, sizes = saved(model(ties), folder / "model.onnx"), {"prefill_chunk": 8}
    types = {"activations": floats, "kv": floats, "device": "generic"}
    return toolkit.compile(source, folder / "m.plan", max_context=CONTEXT, **types, **sizes).path


def by_name(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {case["name"]: case for case in report["cases"]}


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan in halves with a near tie at token 24 of every text."""
    return compiled(tmp_path_factory.mktemp("late"), (24,))


def test_rows_behind_a_near_tie_prove_nothing(late: Path) -> None:
    report = verify(late, on="host")
    case = by_name(report)["decode-25"]
    assert report["ok"] and case["ok"] and case["nmse"] > report["nmse_limit"]
    assert case["judged_nmse"] < report["nmse_limit"]
    assert (case["rows"], case["judged_rows"]) == (26, 24 - 6)
    tie = case["near_tie"]
    assert (tie["token"], tie["mixture"], tie["kind"]) == (24, 0, "experts")
    assert {tie["chosen"], tie["other"]} == {1, 2} and tie["gap"] < tie["resolution"]
    said = "\n".join(lines(report))
    assert "token 24: experts 2 and 1 of mixture 0 are 0.0001 apart" in said
    assert "8 of 26 rows, from it on, aren't judged" in said
    assert by_name(report)["score-32"]["judged_rows"] == 24
    assert all(case["near_tie"] is None for case in report["cases"][:4])


def test_a_wrong_weight_fails_before_a_late_tie(late: Path, tmp_path: Path) -> None:
    wrong = model((24,))
    wider = np.array([1, 1.5, 1, 1], np.float32)[:, None, None]
    change(wrong, "downs", weights(wrong, "downs") * wider)
    report = verify(late, model=saved(wrong, tmp_path / "wrong.onnx"), on="host")
    assert not report["ok"] and not any(case["ok"] for case in report["cases"])
    assert "FAILED" in list(lines(report))[-1]


@pytest.mark.parametrize("place", [pytest.param(10, marks=pytest.mark.slow), 23])
def test_one_wrong_choice_fails_before_a_late_tie(late: Path, tmp_path: Path, place: int) -> None:
    wrong = model((24,))
    scores = weights(wrong, "by_place").copy()
    scores[place] = CLEAR[::-1]
    change(wrong, "by_place", scores)
    report = verify(late, model=saved(wrong, tmp_path / "wrong.onnx"), on="host")
    cases = by_name(report)
    assert cases["decode-25"]["ok"] is False and cases["prefill-7"]["ok"] and not report["ok"]
    assert cases["decode-25"]["judged_rows"] == 18


def test_too_few_rows_are_not_ok(tmp_path: Path) -> None:
    """A tie at token 6 of every text, whatever is fed: four prompts decide nothing."""
    report = verify(compiled(tmp_path, (6,)), on="host")
    cases = by_name(report)
    assert cases["prefill-2"]["ok"] and not report["ok"]
    for name in ("prefill-7", "decode-25", "score-32"):
        assert cases[name]["ok"] is None and cases[name]["prompts"] == 4, cases[name]
    last = list(lines(report))[-1]
    assert last.startswith("UNDECIDED") and "prefill-7" in last and "--activations f32" in last


def test_floats_tell_what_halves_cannot(tmp_path: Path) -> None:
    report = verify(compiled(tmp_path, (6, 24), "f32"), on="host")
    assert report["ok"] and report["greedy_match"]
    assert all(case["judged_rows"] == case["rows"] for case in report["cases"])


def ties_of(scores: list[list[float]], router: dict[str, Any], start: int = 0) -> Any:
    made = Router(ir.Value(name="scores"), **router)
    return first_near_tie([Choices(0, made, start, np.array(scores))], HALF.roundoff)


def test_only_the_last_that_is_chosen_and_the_first_that_is_not() -> None:
    """Others may tie; all may be chosen; what is no number is near to nothing."""
    same = {"k": 2}
    assert ties_of([[1.0, 1.0, 0.5, 0.5], [-np.inf, 1, 1, -np.inf], [np.nan] * 4], same) is None
    assert ties_of([[1.0, 1.0]], same) is None
    found = ties_of([[4.0, 2, 1, 0], [2, 1, 4, 2.001]], same, start=5)
    assert (found.token, found.chosen, found.other) == (6, 3, 0)


def test_a_score_beside_its_threshold_is_a_near_tie() -> None:
    resolution = near_ties.OF_MASKS * HALF.roundoff * 2
    for gap, near in ((0.9 * resolution, True), (1.1 * resolution, False)):
        scores = [[-2.0, 1.0, 0.5 + resolution * 3], [2.0, 0.5 + gap, 0.4]]
        found = ties_of(scores, {"k": 0, "threshold": 0.5}, start=3)
        assert (found is not None) == near
        if near:
            assert (found.token, found.chosen, found.other, found.kind) == (4, 1, None, "neurons")


def test_choices_that_are_followed_must_be_right_or_near() -> None:
    """Of scores, three of which lie beside 0.5, on both sides and on it."""
    near = OF_THRESHOLDS * HALF.roundoff * 2 * 0.9
    scores = np.array([-2.0, 0.5 + near, 0.5 - near, 0.5, 0.6])
    mask = Router(ir.Value(name="scores"), 0, threshold=0.5)

    def agreement(*taken: int, free: int = 5) -> Agreement:
        its = (np.isin(np.arange(5), each) for each in (taken, free))
        return _agreement(scores, Chosen("above", "scores", *its), mask)

    same = agreement(1, 4)
    assert (same.equal, same.others, same.worst) == (1.0, 0, 0.0)
    other = agreement(2, 3, 4)
    assert (other.equal, other.others) == (0.4, 3) and other.explained(HALF.roundoff)
    figures = agreed(other, HALF, True)
    assert (figures["ok"], figures["near_ties"], figures["masks_agree"]) == (True, 3, 0.4)
    assert not other.explained(HALF.roundoff / 2)
    for wrong in ((0, 1, 4), (1,)):  # one too many, one too few
        found = agreement(*wrong)
        assert (found.equal, found.others) == (0.8, 1) and not found.explained(HALF.roundoff)
        assert (agreed(found, HALF, True)["ok"], agreed(found, HALF, None)["ok"]) == (False, False)
    assert agreement(0, 1, 4, free=0) == same  # nobody chose it


def test_the_resolution_is_that_of_the_greatest_score() -> None:
    apart = near_ties.ROUNDOFFS * HALF.roundoff
    for gap, near in ((0.9 * apart, True), (1.1 * apart, False)):
        assert (ties_of([[1.0, 0.0, -gap]], {"k": 2}) is not None) == near
        assert (ties_of([[8.0, 0.0, -8 * gap]], {"k": 2}) is not None) == near
    assert ties_of([[-1.0, 0.0, 0.0001]], {"k": 1, "largest": False}) is None
    assert ties_of([[-1.0, 0.0, 0.0001]], {"k": 2, "largest": False}) is not None


def test_groups_are_chosen_too() -> None:
    """Which of two groups is kept matters where an expert depends on it."""
    router = {"k": 2, "groups": Groups(groups=3, best=1, kept=2, fill=-9.0)}
    found = ties_of([[4.0, 1, 2, 0, 2.0001, 0]], router)
    assert (found.kind, found.chosen, found.other) == ("groups", 2, 1)
    assert ties_of([[4.0, 3, 2, 0, 2.0001, 0]], router) is None
