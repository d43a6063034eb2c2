"""Cases from what is typed: lists of densities, gammas, shares of memory, policies, selectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

from toolkit.calibration.sparse.case import Case
from toolkit.calibration.sparse.methods import METHODS
from toolkit.errors import PocketError
from toolkit.offload.legality import BY_MAGNITUDE
from toolkit.plan.amount import bytes_of, is_share

STEP, MOST = 0.1, 400  # of a range that names no step; cases
POLICIES = ("static", "lru", "lfu")
AWARE = "dip-ca"  # the selector that looks at gamma
USUAL: Mapping[str, tuple[Any, ...]] = {
    "density": (0.5, 0.6, 0.7, 0.8, 0.9),
    "gamma": (1.0,),
    "memory": (0.5,),
    "policy": ("static",),
}


def cases_of(grid: str | None = None, **lists: str | None) -> list[Case]:
    """All combinations that differ, first the whole networks with each share of memory.

    grid   `density=.5:.9 gamma=1,.2 memory=.3,.5 policy=static,lfu sparsity=dip,cats`
    lists  the same words by themselves. Of sparsity the default is dip, and dip-ca where a gamma
           is below 1

    Raises PocketError for words that mean nothing.
    """
    found = {**_words(grid or ""), **{k: v for k, v in lists.items() if v is not None}}
    values = {name: _KINDS[name](name, text) for name, text in found.items()}
    of = {**USUAL, **values}
    kinds = of.get("sparsity") or ("dip", *([AWARE] if min(of["gamma"]) < 1 else []))
    cases = [Case("all", memory=share) for share in of["memory"]]
    each = product(of["memory"], of["policy"], kinds, of["density"], of["gamma"])
    for memory, policy, kind, density, gamma in each:
        if kind == "all" or (gamma < 1) != (kind == AWARE and min(of["gamma"]) < 1):
            continue
        cases.append(Case(kind, density, gamma, memory, policy))
    cases = list(dict.fromkeys(cases))
    _check_all_met(cases, values)
    if len(cases) > MOST:
        because = f"at most {MOST} go through a model at once"
        raise PocketError(f"{len(cases)} cases are too many", because, "give shorter lists")
    return cases


def check_variants(cases: Sequence[Case], refit: bool, exchanged: bool) -> None:
    """Raise PocketError where DIP is to run once more in some way, and no case is DIP's."""
    for option, wanted, kinds in (
        ("--refit", refit, BY_MAGNITUDE),
        ("--exchange", exchanged, BY_MAGNITUDE[:1]),
    ):
        if wanted and not any(case.sparsity in kinds for case in cases):
            because = f"it is for cases of {' or '.join(kinds)}"
            hint = f"add {kinds[0]} to --sparsity, or leave {option} out"
            raise PocketError(f"{option} finds no case", because, hint)


def _check_all_met(cases: Sequence[Case], asked: Mapping[str, Sequence[Any]]) -> None:
    """Raise PocketError where a selector or a gamma that was asked for is in no case."""
    for kind in asked.get("sparsity", ()):
        if not any(case.sparsity == kind for case in cases):
            because = f"of gammas below 1 only {AWARE} knows"
            hint = f"--gamma 1,{min(asked['gamma']):g}, or --sparsity {AWARE}"
            raise PocketError(f"--sparsity {kind} is in no case", because, hint)
    for gamma in asked.get("gamma", ()):
        if gamma < 1 and not any(case.gamma == gamma for case in cases):
            because = f"only {AWARE} looks at what lies in memory"
            hint = f"add {AWARE} to --sparsity, or leave --gamma out"
            raise PocketError(f"--gamma {gamma:g} is in no case", because, hint)


def _words(grid: str) -> dict[str, str]:
    found = dict[str, str]()
    for word in grid.split():
        name, _, text = word.partition("=")
        if name not in _KINDS or not text:
            hint = 'write it as --grid "density=.5:.9 gamma=1,.2 memory=.3,.5 policy=static,lfu"'
            raise PocketError(f"--grid: {word:.40} is not understood", "NAME=LIST is", hint)
        found[name] = text
    return found


def _names(known: Sequence[str]) -> Callable[[str, str], tuple[str, ...]]:
    def read(name: str, text: str) -> tuple[str, ...]:
        words = tuple(text.split(","))
        for word in words:
            if word not in known:
                because = f"there are {', '.join(known)}"
                raise PocketError(f"no {name} is called {word:.40}", because, "take some of these")
        return words

    return read


def _shares(name: str, text: str) -> tuple[float, ...]:
    """Numbers from 0 to 1, of which `a:b` and `a:b:step` are ranges; percents are numbers, too."""
    try:
        found = tuple(number for word in text.split(",") for number in _range(word))
        if name == "density" and min(found) == 0:
            raise ValueError(text)
        return found
    except (ValueError, PocketError):
        what = f"{name} {text:.40} is not understood"
        hint = f"write it as --{name} .5,.7, 50% or .5:.9"
        raise PocketError(what, "it is a list of numbers from 0 to 1", hint) from None


def _range(word: str) -> list[float]:
    first, *more = [_share(part) for part in word.split(":")]
    last, step = more[0] if more else first, more[1] if len(more) > 1 else STEP
    if len(more) > 2 or step <= 0 or last < first:
        raise ValueError(word)
    return [round(first + i * step, 6) for i in range(int((last - first) / step + 1e-6) + 1)]


def _share(text: str) -> float:
    value = bytes_of(text, 10**9) / 1e9 if is_share(text) else float(text)
    if not 0 <= value <= 1:
        raise ValueError(text)
    return value


_KINDS: Mapping[str, Callable[[str, str], tuple[Any, ...]]] = {
    "density": _shares,
    "gamma": _shares,
    "memory": _shares,
    "policy": _names(POLICIES),
    "sparsity": _names(tuple(METHODS)),
}
