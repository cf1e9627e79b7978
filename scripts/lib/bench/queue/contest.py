"""Who drains no-op tasks how fast: every contestant at its best setting, in alternating rounds, medians reported."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bench.options import Options

PILOT_TASKS = 1000
QUICK_TASKS = 200
CHOICE_SECONDS = 2.0  # How long a drain lasts that only chooses the best setting.
ROUND_SECONDS = 6.0  # How long a measured one is to last: at least five, should it go faster than the pilot said.
ROUNDS = 3


@dataclass(frozen=True)
class Run:
    """One drain; `cpu` in seconds by part (client, postgres, postgrest, gateway), `peak` in MB."""

    tasks: int
    seconds: float
    cpu: dict[str, float] = field(default_factory=dict)
    peak: float = 0.0

    @property
    def rate(self) -> float:
        """Tasks per second."""
        return self.tasks / self.seconds


class Contestant(Protocol):
    """Something that can drain tasks in one process, in one of several settings, the first being the usual one."""

    name: str
    settings: Sequence[str]

    def drain(self, tasks: int, setting: str) -> Run:
        """Begin from empty tables, lay the tasks out, and drain them."""


@dataclass(frozen=True)
class Standing:
    """What a contestant reached: the runs at its best setting, and the rate of each setting when it was chosen."""

    name: str
    setting: str
    runs: Sequence[Run]
    tried: dict[str, float]

    @property
    def rate(self) -> float:
        """Median of the rounds, tasks per second."""
        return statistics.median(run.rate for run in self.runs)

    @property
    def peak(self) -> float:
        """The largest size of the process in any round, MB."""
        return max(run.peak for run in self.runs)

    def cpu(self, part: str) -> float:
        """Median microseconds of processor time per task."""
        return statistics.median(run.cpu[part] / run.tasks * 1e6 for run in self.runs)


def hold(contestants: Sequence[Contestant], options: Options) -> list[Standing]:
    """Choose each contestant's best setting, then let them drain in turns; in a quick run each drains once."""
    if options.quick:
        return [_drain_once(contestant) for contestant in contestants]
    chosen = [_choose(contestant) for contestant in contestants]
    runs: list[list[Run]] = [[] for _ in contestants]
    for _ in range(ROUNDS):
        for contestant, tried, kept in zip(contestants, chosen, runs, strict=True):
            best = _best(tried)
            kept.append(contestant.drain(_tasks(tried[best], ROUND_SECONDS), best))
    return [
        Standing(contestant.name, _best(tried), kept, tried)
        for contestant, tried, kept in zip(contestants, chosen, runs, strict=True)
    ]


def _drain_once(contestant: Contestant) -> Standing:
    setting = contestant.settings[0]
    run = contestant.drain(QUICK_TASKS, setting)
    return Standing(contestant.name, setting, [run], {setting: run.rate})


def _choose(contestant: Contestant) -> dict[str, float]:
    pilot = contestant.drain(PILOT_TASKS, contestant.settings[0]).rate
    tasks = _tasks(pilot, CHOICE_SECONDS)
    return {setting: contestant.drain(tasks, setting).rate for setting in contestant.settings}


def _best(tried: dict[str, float]) -> str:
    return max(tried, key=lambda setting: tried[setting])


def _tasks(rate: float, seconds: float) -> int:
    """So many that they last, in whole hundreds."""
    return max(1, round(rate * seconds / 100)) * 100
