"""A text through a plan whose networks are computed in part (DIP), by points and policies.

What one network leaves out changes what the next one reads. So the text goes through the plan's
graph once for each way to choose, layer by layer: the machine says what each token takes, and the
network is computed with that. Once more all of it is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from opencl_kernels.formats import Array
from toolkit.calibration.neurons import Neurons
from toolkit.calibration.walk import Walk, Window
from toolkit.compiler.options import options_of
from toolkit.compiler.rewriting.passes import rewritten_for
from toolkit.compiler.source import Source
from toolkit.compiler.weights.channels import Channels, TabledChannels
from toolkit.offload.machine import Ahead, Outcome
from toolkit.simulation.accesses import Access
from toolkit.simulation.known import Case, Known
from toolkit.simulation.replay import Replayed, replay
from toolkit.simulation.text import check_routed, gather_of, networks_of, of_rows

Tell = Callable[[str], None]
Seen = Callable[[int, Access, Outcome], None]  # of a case, by its number


@dataclass(frozen=True)
class InPart:
    """What became of a text.

    found         of each case, as `replay` has it, all tables together
    perplexities  of each case; `whole`: with all of the networks
    """

    found: list[Replayed]
    perplexities: list[float]
    whole: float


@dataclass(frozen=True)
class _Way:
    """The text on its way under cases that choose alike; under none all is computed."""

    cases: tuple[int, ...]
    windows: tuple[Window, ...]

    @property
    def lengths(self) -> list[int]:
        return [len(window.ids) for window in self.windows]


def replayed_in_part(
    known: Known,
    source: Source,
    ids: Sequence[int],
    cases: Sequence[Case],
    tell: Tell,
    seen: Seen = lambda *_: None,
) -> InPart:
    """Decode ids one by one, in windows as long as the context, each with an empty cache of keys.

    seen  is shown every outcome
    """
    check_routed(known.plan)
    tell("reading the model")
    model = rewritten_for(source, known.plan)
    networks = [n for n in networks_of(known.plan, model).found if isinstance(n, TabledChannels)]
    size = options_of(known.plan).context
    ways = [_Way(each, _windows(ids, size)) for each in (*_alike(known, cases), ())]
    text = _Text(known, cases, [Replayed() for _ in cases], seen)
    walk = Walk(model, [n.ffn for n in networks], [w for way in ways for w in way.windows])
    for level, network in enumerate(networks):
        tell(f"layer {level + 1} of {len(networks)}")
        neurons = walk.reach(level)
        x = {id(window): values for window, values in walk.inputs(level)}
        y = dict[int, Array]()
        for way in ways:
            read = np.concatenate([x[id(window)] for window in way.windows])
            given = np.split(text.passed(way, network, neurons, read), np.cumsum(way.lengths)[:-1])
            y |= {id(window): part for window, part in zip(way.windows, given, strict=True)}
        walk.give(level, partial(_given, y))
    text.read_rows(ids)
    nats = {id(window): each for window, each in walk.losses()}
    costs = [_perplexity([nats[id(window)] for window in way.windows]) for way in ways]
    by_case = {case: cost for way, cost in zip(ways, costs, strict=True) for case in way.cases}
    return InPart(text.found, [by_case[case] for case in range(len(cases))], costs[-1])


@dataclass(frozen=True)
class _Text:
    """Of all ids, what the cases found so far."""

    known: Known
    cases: Sequence[Case]
    found: list[Replayed]
    seen: Seen

    def passed(self, way: _Way, network: TabledChannels, neurons: Neurons, x_TD: Array) -> Array:
        """What a network gives of what it reads [T, D]."""
        h = neurons.hidden(x_TD * self._chosen(way, network.inputs, x_TD))
        return neurons.output(h * self._chosen(way, network.hidden, h))

    def read_rows(self, ids: Sequence[int]) -> None:
        """Rows of embeddings, which change nothing."""
        for table, accesses in of_rows(self.known.plan, ids):
            for case in range(len(self.cases)):
                self._replay(case, table, accesses)

    def _chosen(self, way: _Way, channels: Channels, scores_TN: Array) -> Array:
        """Which records each token takes, bool by index [T, N]."""
        if not way.cases:
            return np.ones(scores_TN.shape, bool)
        number, gather = gather_of(self.known.plan, channels.table)
        accesses = [Access(at, number, gather, row) for at, row in enumerate(scores_TN)]
        for case in way.cases:
            chosen = self._replay(case, channels.table, accesses)
        order, mask = self.known.tables[channels.table].order, np.zeros(scores_TN.shape, bool)
        for step, records in chosen:
            mask[step, records if order is None else order[records]] = True
        return mask

    def _replay(self, case: int, table: int, accesses: Sequence[Access]) -> list[tuple[int, Array]]:
        """What each step selects; cases that choose alike select the same."""
        known, of, chosen = self.known, self.cases[case], list[tuple[int, Array]]()

        def seen(access: Access, outcome: Outcome, ahead: Ahead | None) -> None:
            chosen.append((access.step, outcome.selected))
            self.seen(case, access, outcome)

        held, costs = known.tables[table], (known.flash, known.costs)
        self.found[case] += replay(
            held, accesses, of.point, of.policy, *costs, seen=seen, window=of.window
        )
        return chosen


def _given(y: Mapping[int, Array], window: Window, x_MD: Array) -> Array:
    return y[id(window)]


def _alike(known: Known, cases: Sequence[Case]) -> list[tuple[int, ...]]:
    """Numbers of cases that choose alike: where nothing in memory counts more, all of one k."""
    found = dict[object, list[int]]()
    for number, case in enumerate(cases):
        found.setdefault(case if known.aware else case.point.select, []).append(number)
    return [tuple(each) for each in found.values()]


def _windows(ids: Sequence[int], size: int) -> tuple[Window, ...]:
    parts = [list(ids[at : at + size]) for at in range(0, len(ids), size)]
    return tuple(Window(part, held_out=True) for part in parts)


def _perplexity(nats: Sequence[Array]) -> float:
    """A window's first token is given."""
    return float(np.exp(np.concatenate(nats).mean()))
