"""How fast tasks come in: from a signed-in user through PostgREST, and by the peers' own calls on their connections."""

import statistics
from collections.abc import Callable
from functools import partial

from bench.queue.lab import Lab
from bench.queue.peers import Peer
from bench.results import Result, at_least, plain

SECONDS = 2.0
ROUNDS = 3
CONCURRENCIES = (1, 10)


def run(lab: Lab, pgqueuer: Peer, procrastinate: Peer) -> list[Result]:
    """Every way in turns, each on empty tables; medians."""
    seconds = lab.options.scale(SECONDS, 0.2)
    ways: dict[str, Callable[[], float]] = {
        "ours, bulk": partial(lab.member.bulk, seconds),
        "pgqueuer, bulk": partial(_of_peer, pgqueuer, "bulk", seconds),
    }
    for number in CONCURRENCIES:
        ways[f"ours, single, concurrency {number}"] = partial(lab.member.single, seconds, number)
        single = partial(_of_peer, procrastinate, "single", seconds, "--concurrency", str(number))
        ways[f"procrastinate, single, concurrency {number}"] = single
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(lab.options.scale(ROUNDS, 1)):
        for name, way in ways.items():
            for wipe in (lab.database.wipe, pgqueuer.wipe, procrastinate.wipe):
                wipe()
            rates[name].append(way())
    return _results({name: statistics.median(found) for name, found in rates.items()})


def _results(rates: dict[str, float]) -> list[Result]:
    results = [plain(f"enqueue: {name}", rate, "tasks/s") for name, rate in rates.items()]
    bulk = rates["ours, bulk"] / rates["pgqueuer, bulk"]
    results.append(at_least("enqueue, bulk of 1,000: ours against pgqueuer", bulk, "x pgqueuer", 0.5))
    for number in CONCURRENCIES:
        single = rates[f"ours, single, concurrency {number}"] / rates[f"procrastinate, single, concurrency {number}"]
        name = f"enqueue, single, concurrency {number}: ours against procrastinate"
        results.append(at_least(name, single, "x procrastinate", 1.0))
    return results


def _of_peer(peer: Peer, command: str, seconds: float, *arguments: str) -> float:
    found = peer.call(command, "--seconds", str(seconds), *arguments)
    return float(found["tasks"] / found["seconds"])
