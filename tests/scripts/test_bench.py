"""Benchmarks of the queue run to their ends on few rows, say all that they are to say, and leave nothing behind.

Those that use all that the others use: each takes half a minute at most.
"""

import json
import math
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from bench.options import Options
from bench.queue.contest import Run, hold
from bench.results import Result, at_least, at_most, percentile, plain, show

from localstack import instance
from localstack.paths import ROOT
from tests.scripts.scratch import environment

# One name of each part at least.
EXPECTED = {
    "queue": (
        "drain: ours against pgqueuer",
        "drain: ours against procrastinate",
        "drain: ours against raw SQL",
        "processor time: ours, postgrest",
        "peak memory of the worker: pgqueuer",
        "drain, deliverable and message: against no-op",
        "drain: ours, with a log line per task",
        "drain: 2 workers against one",
        "enqueue, bulk of 1,000: ours against pgqueuer",
        "enqueue, single, concurrency 10: ours against procrastinate",
        "pick-up, idle, LISTEN: p95",
        "pick-up, idle, polling each 250 ms: p99",
        "pick-up at 50 % load: p95",
    ),
    "agents": (
        "api agents, 100 at once: of the ideal throughput",
        "api agents, 100 at once: peak memory of the worker",
        "door, a call: overhead over plain httpx, median",
        "streams, 5 of 100 chunks/s: rows written",
        "streams, 5 of 100 chunks/s: last chunk visible, slowest",
    ),
    "git": (
        "first sync of 50 files",
        "plain clone",
        "sync of 50 unchanged files, another commit: slowest",
        "sync of 50 unchanged files, same commit: against a clone",
        "sync of 50 unchanged files: rows of agents written",
    ),
    "dag": (
        "60 fan-out, fan-in",
        "random, width 50: against tasks",
        "chain: against tasks, one at a time",
        "finishing a step of 10: p50",
        "finishing a step of 100: against one of 10",
    ),
    "trace": (
        "no-op tasks, tracing off",
        "no-op tasks: tracing on",
        "steps stored",
        "run_tree of 1,000 steps, p95",
        "claims alone: slowest",
        "claims beside retention: slowest",
    ),
    "history": (
        "claim of 10, 2,000 finished: against nothing finished",
        "completion of 10, 2,000 finished: p95",
        "2 workers against one, concurrency 10",
        "claims of 2 workers: p95",
        "single task behind the flood: p95",
        "single task behind the flood: most claims that passed it over",
    ),
}
SECONDS = 300


@pytest.mark.parametrize("name", EXPECTED)
def test_a_quick_run_gives_every_number_and_leaves_no_stack(name: str, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    command = [str(ROOT / "scripts" / "bench"), name, "--quick", "--json", str(file)]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        output, _ = process.communicate(timeout=SECONDS)
    finally:
        process.terminate()
        process.wait()
    assert process.returncode == 0, output
    results = json.loads(file.read_text())["results"]
    names = [result["name"] for result in results]
    assert set(EXPECTED[name]) <= set(names)
    assert len(names) == len(set(names))
    assert all(math.isfinite(result["value"]) and result["value"] >= 0 for result in results)
    assert {result["ok"] for result in results} == {None}  # A quick run judges nothing.
    assert not instance.home_of(f"bench-{process.pid}").exists()


def test_a_target_that_is_missed_is_said_and_fails_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = [at_most("latency", 9.9, "ms", 10), at_least("ratio", 1.0, "x", 1.0), plain("rate", 5, "tasks/s")]
    file = tmp_path / "results.json"
    assert show("some", good, None)
    assert not show("some", [*good, at_least("other ratio", 0.99, "x", 1.0)], file)
    assert "NO" in capsys.readouterr().out
    assert [result["ok"] for result in json.loads(file.read_text())["results"]] == [True, True, None, False]


def test_a_value_is_judged_before_it_is_rounded() -> None:
    assert at_most("ratio", 1.2004, "x", 1.2) == Result("ratio", 1.2, "x", "<= 1.2", ok=False)


def test_percentiles_lie_between_the_values() -> None:
    assert percentile([1.0, 2.0, 3.0], 50) == 2.0
    assert percentile([float(value) for value in range(101)], 95) == 95.0
    assert percentile([7.0], 99) == 7.0


class Steady:
    """A contestant that drains at a known rate in each of its settings, tasks per second."""

    name = "steady"

    def __init__(self, rates: dict[str, float]) -> None:
        self.settings: Sequence[str] = list(rates)
        self.drained: list[tuple[int, str]] = []
        self._rates = rates

    def drain(self, tasks: int, setting: str) -> Run:
        self.drained.append((tasks, setting))
        return Run(tasks, tasks / self._rates[setting])


def test_a_contestant_is_measured_in_rounds_at_its_best_setting_and_once_in_a_quick_run() -> None:
    contestant = Steady({"one": 500.0, "ten": 2000.0, "fifty": 900.0})
    (standing,) = hold([contestant], Options())
    assert contestant.drained == [(1000, "one"), (1000, "one"), (1000, "ten"), (1000, "fifty"), *[(12000, "ten")] * 3]
    assert (standing.setting, standing.rate, len(standing.runs)) == ("ten", 2000.0, 3)
    assert standing.tried == {"one": 500.0, "ten": 2000.0, "fifty": 900.0}
    contestant.drained.clear()
    (standing,) = hold([contestant], Options(quick=True))
    assert contestant.drained == [(200, "one")]
    assert (standing.setting, standing.rate) == ("one", 500.0)
