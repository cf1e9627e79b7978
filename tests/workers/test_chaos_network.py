"""A network that loses, cuts, delays and repeats what passes between worker and gateway: everything acts once."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.stack import Stack
from tests.workers.chaos_invariants import assert_whole, count_runs
from tests.workers.chaos_kit import Errand, Fleet, Ground, dice, laid_out
from tests.workers.chaos_proxy import Fault, Sent, network
from tests.workers.chaos_worker import Script
from tests.workers.waiting import Row, wait_for

TASKS = 300
FAULTY = 0.35  # How much of all traffic suffers.
REQUEST_TIMEOUT = 1.0
DELAY = 1.2  # Longer than a worker waits for its answer.


@pytest.fixture
def ground(stack: Stack) -> Iterator[Ground]:
    with laid_out(stack, organizations=2) as ground:
        yield ground


class Weather:
    """Chooses faults by dice, each kind as often as any other."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._faults: list[Fault] = [fault for fault in get_args(Fault) if fault != "none"]
        self.fair = False

    def __call__(self, _sent: Sent) -> Fault:
        if self.fair or self._rng.random() >= FAULTY:
            return "none"
        return self._rng.choice(self._faults)


@dataclass(frozen=True)
class Deed:
    """What one answer says was done: the leases given, and what became of the report."""

    leases: frozenset[str]
    outcomes: str

    @classmethod
    def of(cls, answer: Row) -> Deed:
        leases = frozenset(f"{entry['task']['id']} {entry['lease_token']}" for entry in answer["tasks"])
        return cls(leases, json.dumps(answer["outcomes"]))


def deeds_by_request(exchanges: list[Sent]) -> dict[str, list[Deed]]:
    """Return what the answers to each request id say, by whatever copy of the request, oldest first."""
    deeds: dict[str, list[Deed]] = {}
    for sent in exchanges:
        done = [Deed.of(answer) for status, answer in sent.answers if status == 200]
        deeds.setdefault(sent.body["request_id"], []).extend(done)
    return deeds


def heard(requests: list[Sent]) -> set[str]:
    """Return the workers who have got an answer."""
    return {sent.body["worker_id"] for sent in requests if sent.answers}


def test_a_network_that_loses_and_repeats_requests_and_answers_makes_nothing_happen_twice(
    stack: Stack, ground: Ground, tmp_path: Path
) -> None:
    rng = dice()
    weather = Weather(rng)
    fleet = Fleet(stack, tmp_path, ground.organizations)
    ground.add(
        *(
            Errand(
                Script(ms=rng.randrange(100), fails=rng.choice([0, 0, 0, 1]), fatal=rng.random() < 0.05),
                organization=rng.randrange(2),
                conversation=rng.choice([None, rng.randrange(Ground.CONVERSATIONS)]),
            )
            for _ in range(TASKS)
        )
    )
    with network(stack.url, weather, DELAY) as between:
        try:
            for _ in range(4):
                fleet.start(url=between.url, concurrency=4, lease_seconds=3, request_timeout=REQUEST_TIMEOUT)
            ground.await_all_final(90)
            weather.fair = True
            fair_from = len(between.sent)
            time.sleep(2 * DELAY)  # What was delayed has arrived.
            wait_for(
                lambda: heard(between.sent[fair_from:]) >= {worker.id for worker in fleet.workers}, 20, "all are back"
            )
            fleet.drain()
        finally:
            fleet.close()
    print(dict(between.faults), count_runs(ground.sql, ground.organizations))
    assert_whole(ground.sql, ground.organizations)
    assert set(between.faults) == set(get_args(Fault)), "every fault has happened"

    exchanges = between.exchanges()
    deeds = [done for done in deeds_by_request(exchanges).values() if len(done) > 1]
    assert len(deeds) >= 10, "many requests have been answered more than once"
    # A copy that comes late may find that a lease is over; it never gives another one.
    assert [done for done in deeds if any(deed.outcomes != done[0].outcomes for deed in done)] == []
    assert [done for done in deeds if any(not deed.leases <= done[0].leases for deed in done)] == []
    bodies: dict[str, Any] = {}
    changed = [sent for sent in exchanges if bodies.setdefault(sent.body["request_id"], sent.body) != sent.body]
    assert changed == [], "what is sent again is what was sent"
