"""When the dispatches of a plan ran, while somebody wants to know."""

from dataclasses import dataclass

import pyopencl as cl

from toolkit.executors.opencl.errors import opencl_errors
from toolkit.executors.spans import Span
from toolkit.plan.schema import Dispatch, Phase


@dataclass(frozen=True)
class TimedLaunch:
    """A dispatch that ran while a profile is taken."""

    run: int
    phase: Phase
    step: Dispatch
    kernel: str
    event: cl.Event

    def span(self) -> Span:
        """What its event tells, once it has ended."""
        times = self.event.profile
        stamps = (times.queued, times.submit, times.start, times.end)
        return Span(self.run, self.phase.name, self.step.name, self.kernel, *stamps)


class Timeline:
    """Launches between `start` and `take`, none before."""

    def __init__(self) -> None:
        self._timed: list[TimedLaunch] | None = None

    def start(self) -> None:
        """Note from here on when each kernel runs."""
        self._timed = []

    def note(self, launch: TimedLaunch) -> None:
        """A dispatch was enqueued."""
        if self._timed is not None:
            self._timed.append(launch)

    def take(self) -> list[Span]:
        """When each dispatch ran that was noted, all of which have ended; ends the noting."""
        timed, self._timed = self._timed or [], None
        with opencl_errors("kernel times are not taken"):
            return [each.span() for each in timed]
