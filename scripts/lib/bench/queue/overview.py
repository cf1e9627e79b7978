"""`scripts/bench queue`: one table of throughput, enqueueing, pick-up latency, processor time and memory."""

import statistics
from collections.abc import Iterator, Sequence

from bench.options import Options
from bench.parts import part
from bench.queue import contest, enqueue, lab, peers, pickup
from bench.queue.ceiling import Ceiling
from bench.queue.contest import Standing
from bench.queue.database import WRITE
from bench.queue.ours import Ours
from bench.results import Result, at_least, plain
from localstack.instance import Instance

WORKERS = 10


def run(stack: Instance, options: Options) -> Sequence[Result]:
    """Every part in turn; about ten minutes."""
    with lab.opened(stack, options) as found:
        with part("install the peers"):
            python = peers.install()
            pgqueuer = peers.pgqueuer(python, found.database, found.meter)
            procrastinate = peers.procrastinate(python, found.database, found.meter)
        ours = Ours(found)
        with part("drain"):
            standings = contest.hold([ours, pgqueuer, procrastinate, Ceiling(found.database, found.meter)], options)
        best = standings[0]
        results = list(_drain_results(standings))
        with part("drain with a deliverable and a message"):
            (written,) = contest.hold([Ours(found, WRITE, [best.setting])], options)
        results += _written_results(written, best)
        with part("drain with log lines, and with ten workers"):
            results += _variants(ours, best, options)
        with part("enqueue"):
            results += enqueue.run(found, pgqueuer, procrastinate)
        with part("pick-up, idle"):
            results += pickup.idle(found)
        with part("pick-up, busy"):
            results += pickup.busy(found, best.setting, best.rate)
    return results


def _drain_results(standings: Sequence[Standing]) -> Iterator[Result]:
    ours, pgqueuer, procrastinate, ceiling = standings
    for standing in standings:
        yield plain(f"drain: {standing.name}, {standing.setting}", standing.rate, "tasks/s")
        for setting, rate in standing.tried.items():
            if setting != standing.setting:
                yield plain(f"drain, tried once: {standing.name}, {setting}", rate, "tasks/s")
    yield at_least("drain: ours against pgqueuer", ours.rate / pgqueuer.rate, "x pgqueuer", 1.0)
    yield at_least("drain: ours against procrastinate", ours.rate / procrastinate.rate, "x procrastinate", 20.0)
    yield plain("drain: ours against raw SQL", ours.rate / ceiling.rate, "x raw SQL")
    for name in ("client", "gateway", "postgrest", "postgres"):
        yield plain(f"processor time: ours, {name}", ours.cpu(name), "us/task")
    for standing in (pgqueuer, procrastinate, ceiling):
        for name in ("client", "postgres"):
            yield plain(f"processor time: {standing.name}, {name}", standing.cpu(name), "us/task")
    for standing in (ours, pgqueuer, procrastinate):
        yield plain(f"peak memory of the worker: {standing.name}", standing.peak, "MB")


def _written_results(written: Standing, noop: Standing) -> list[Result]:
    return [
        plain(f"drain, deliverable and message: ours, {written.setting}", written.rate, "tasks/s"),
        at_least("drain, deliverable and message: against no-op", written.rate / noop.rate, "x no-op", 0.4),
    ]


def _variants(ours: Ours, best: Standing, options: Options) -> list[Result]:
    """The same drain with the log as operators have it, and by ten workers at once, one worker draining in between."""
    tasks = best.runs[0].tasks
    logged = ours.drain_with(tasks, best.setting, LOG_LEVEL="INFO", LOG_FORMAT="json").rate
    ten, one = [], []
    workers = options.scale(WORKERS, 2)
    for _ in range(options.scale(contest.ROUNDS, 1)):
        one.append(ours.drain(tasks, best.setting).rate)
        ten.append(ours.drain_with(tasks, best.setting, workers=workers).rate)
    return [
        plain("drain: ours, with a log line per task", logged, "tasks/s"),
        plain(f"drain: ours, {workers} workers", statistics.median(ten), "tasks/s"),
        at_least(
            f"drain: {workers} workers against one",
            statistics.median(ten) / statistics.median(one),
            "x one worker",
            1.0,
        ),
    ]
