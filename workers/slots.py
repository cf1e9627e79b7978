"""The slots of a worker as it tells them when it asks for work, so that no organization takes all of them.

Each free slot is counted by one request under way only: were it counted by two, each might give an organization its
share of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Slots:
    """What a request that asks for work tells of the worker's slots.

    `free` counts slots that no other request under way counts, those included that its report frees; `freed` are the
    latter and `held` those that stay taken, by organization. `under_way`: other requests ask for work just now.
    """

    free: int
    under_way: bool
    held: Mapping[str, int] = field(default_factory=dict)
    freed: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return it as the report's `slots`; what is false or empty is left out."""
        told: dict[str, object] = {"free": self.free}
        if self.under_way:
            told["under_way"] = True
        if self.held:
            told["held"] = dict(self.held)
        if self.freed:
            told["freed"] = dict(self.freed)
        return told


def count_slots(
    free: int,
    holders: Mapping[str, int],
    freed: Mapping[str, int],
    under_way: Sequence[Slots],
    given_up: Mapping[str, int],
) -> Slots:
    """Count the slots for one more request.

    `free` is how many are free when all reports under way and this one are taken; `holders` is how many leases there
    are of each organization, `freed` how many of them this report ends. `given_up` are those that reports under way
    end, but for what an organization may be given again there: it may hold that still.
    """
    ended = Counter(freed)
    ended.update(given_up)
    held = {name: count - ended[name] for name, count in holders.items() if count > ended[name]}
    uncounted = free - sum(slots.free for slots in under_way)
    return Slots(max(0, uncounted), bool(under_way), held, freed)
