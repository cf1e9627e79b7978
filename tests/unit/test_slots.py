"""What a worker tells of its slots: each free one is counted by one request, whatever else is under way."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction

import pytest

from workers.slots import Slots, count_slots


def test_a_request_alone_counts_every_free_slot() -> None:
    slots = count_slots(4, {"a": 5, "b": 1}, {"a": 2}, (), {})
    assert slots == Slots(4, under_way=False, held={"a": 3, "b": 1}, freed={"a": 2})
    assert slots.to_json() == {"free": 4, "held": {"a": 3, "b": 1}, "freed": {"a": 2}}


def test_what_others_under_way_count_is_not_counted_again() -> None:
    first = count_slots(4, {"a": 6}, {}, (), {})
    second = count_slots(5, {"a": 6}, {"a": 1}, (first,), {})
    # What the second frees it may give again.
    third = count_slots(6, {"a": 6}, {"a": 1}, (first, second), {})
    assert (second, third) == (Slots(1, True, {"a": 5}, {"a": 1}),) * 2
    assert count_slots(0, {}, {}, (first,), {}).to_json() == {"free": 0, "under_way": True}


def room(slots: Slots, name: str, share: Fraction) -> int:
    """Say what the database gives at most (private.share_slots)."""
    held = slots.held.get(name, 0)
    first = slots.freed.get(name, 0) if slots.under_way else int(held == 0)
    return max(int(share * (held + slots.free)) - held, first, 0)


@pytest.mark.parametrize("seed", range(40))
def test_requests_that_overlap_never_give_one_organization_more_than_its_share(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    concurrency, share = chance.choice([2, 3, 5, 10, 40]), Fraction(chance.choice([1, 2, 3]), 4)
    leases, flights, most = Counter[str](), list[tuple[Slots, str, int]](), 0
    for _ in range(400):
        # Only one organization has work, and each request gets for it what it may at most.
        if len(flights) == 4 or (flights and chance.random() < 0.5):
            slots, name, got = flights.pop(chance.randrange(len(flights)))
            leases.subtract(slots.freed)
            leases[name] += got
            most = max(most, leases[name])
            continue
        there, given_up = Counter[str](), Counter[str]()
        for flight, _, _ in flights:
            there.update(flight.freed)
            given_up.update({} if flight.under_way else flight.freed)
        freed = {"a": chance.randint(0, min(2, leases["a"] - there["a"]))}
        free = concurrency - leases.total() + there.total() + freed["a"]
        slots = count_slots(free, +leases, +Counter(freed), [flight for flight, _, _ in flights], given_up)
        asked = max(0, free - sum(got for _, _, got in flights))
        flights.append((slots, "a", min(asked, room(slots, "a", share))))
    assert most == max(1, int(share * concurrency)), concurrency
