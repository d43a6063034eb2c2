"""How long the tokens of a case take on some flash, as DIP's authors count (dip_simulator.py)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from opencl_kernels.formats import Array
from toolkit.calibration.sparse.case import DENSE, Stage
from toolkit.offload.coalesce import coalesce
from toolkit.offload.flash_model import Flash
from toolkit.simulation.dip_simulator import DipSimulator, Hardware, Hook, Memory, Rates, Taken

MAX_READ = 1 << 19  # bytes of a read
DRAM_RATE = 60e9  # bytes a second: the authors' default


@dataclass(frozen=True)
class Sizes:
    """Numbers of a model: its networks', all other weights', and those of keys and values.

    kv         of a whole window
    precision  bytes of a weight; a number of a key or a value has one, as the authors count
    """

    networks: int
    rest: int
    kv: int
    precision: float

    def memory(self, share: float) -> float:
        """Bytes of all that isn't networks, and of this share of them."""
        return (self.rest + share * self.networks) * self.precision + self.kv


class Clock:
    """Of one case: what its windows took, table by table, until their rates are asked for.

    Where a flash asks for time by the request, reads are those of the machine: packed records,
    whole pages, joined over gaps. Where it doesn't, as the authors have it, bytes are all.
    """

    def __init__(self, sizes: Sizes, flash: Flash) -> None:
        self._sizes, self._flash = sizes, flash
        self._taken = defaultdict[int, list[Taken]](list)  # by window
        self._dense, self._chosen = 0.0, 0.0  # numbers, of all windows

    def note(self, window: int, stage: Stage) -> None:
        """A table of a layer; what is computed whole is static, as the authors have it."""
        count = stage.missing_TN.shape[1]
        found = self._taken[window]
        if stage.name == DENSE:
            self._dense += count * stage.width
            return
        self._chosen += count * stage.width
        hook = Hook(stage.name, count, stage.width / stage.products, stage.products)
        by_request = self._flash.table or self._flash.alpha
        reads = self._reads(stage) if by_request else None
        found.append(Taken(hook, stage.chosen_T, stage.chosen_T - stage.missed_T, reads))

    def rates(self, memory: float) -> Rates:
        """With a share of networks in memory."""
        sizes, windows = self._sizes, len(self._taken)
        static = (sizes.rest + self._dense / windows) * sizes.precision
        held = Memory(
            static + sizes.kv, static + sizes.kv / 2, self._chosen / windows * sizes.precision
        )
        rate = MAX_READ / float(self._flash.seconds(MAX_READ))
        hardware = Hardware(sizes.memory(memory), DRAM_RATE, rate)
        return DipSimulator(hardware, held, sizes.precision).rates(list(self._taken.values()))

    def _reads(self, stage: Stage) -> Array:
        """Seconds of each token."""
        nbytes = max(1, round(stage.width * self._sizes.precision))
        found = np.zeros(len(stage.chosen_T))
        for token, row in enumerate(stage.missing_TN):
            starts = np.flatnonzero(row) * nbytes
            if len(starts):
                runs = coalesce(starts, nbytes, self._flash.gap, MAX_READ, len(starts))
                seconds = self._flash.seconds(runs.spans[:, 1])
                found[token] = float(seconds.sum()) + self._flash.latency
        return found
