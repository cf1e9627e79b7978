"""What a worker may say in a report, good and bad, as hypothesis strategies; and how answers are compared."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from tests.database.engine_states import Lease
from tests.database.kit import Row

FUNCTIONS = {
    "event": "add_task_events",
    "heartbeat": "heartbeat_tasks",
    "completed": "complete_tasks",
    "failed": "fail_tasks",
    "paused": "pause_task",
    "released": "release_tasks",
}
NUMBER = st.integers(0, 999)
# Of an item: the task, the kind, and which outcomes are right.
Expected = tuple[str, str, frozenset[str]]
# The lists of a report, in the order in which exchange_work takes them.
LISTS = {kind: {"event": "events", "heartbeat": "heartbeats"}.get(kind, kind) for kind in FUNCTIONS}
USAGE = st.lists(
    st.fixed_dictionaries(
        {
            "provider": st.just("anthropic"),
            "model": st.just("m"),
            "input_tokens": st.integers(0, 9),
            "output_tokens": st.integers(0, 9),
            "cost": st.sampled_from([None, 0.25]),
        }
    ),
    min_size=1,
    max_size=2,
)
DELIVERABLE = {"title": "T", "type": "text", "format": "text", "content": "c"}
MESSAGES = st.lists(st.fixed_dictionaries({"content": st.sampled_from(["one", "two"])}), min_size=1, max_size=2)

TASK = st.fixed_dictionaries(
    {
        "place": NUMBER,
        "user": NUMBER,
        "agent": NUMBER,
        "conversation": NUMBER,
        "key": st.sampled_from([None, None, "one", "three"]),
        "priority": st.sampled_from([1, 5]),
        "delay": st.sampled_from([0, 0, 0, 30, 600]),
        "max_attempts": st.sampled_from([1, 2, 3]),
        "timeout_seconds": st.sampled_from([30, 3600]),
        "backoff_seconds": st.sampled_from([0, 5, 60]),
    }
)

GOOD: dict[str, st.SearchStrategy[Row]] = {
    "event": st.fixed_dictionaries(
        {"type": st.sampled_from(["log", "partial", "tool"])}, optional={"data": st.just({"text": "x"})}
    ),
    "heartbeat": st.fixed_dictionaries(
        {}, optional={"progress": st.sampled_from([5, 40, 100]), "progress_message": st.sampled_from(["a", "b"])}
    ),
    "completed": st.fixed_dictionaries(
        {"response": st.just("done.")},
        optional={"deliverable": st.just(DELIVERABLE), "messages": MESSAGES, "usage": USAGE},
    ),
    "failed": st.fixed_dictionaries(
        {
            "error_code": st.sampled_from(["some_error", "timeout"]),
            "error_message": st.just("It broke."),
            "retryable": st.sampled_from([True, True, False]),
        },
        optional={"retry_after": st.sampled_from([10, 7200]), "rejected": st.booleans(), "usage": USAGE},
    ),
    "paused": st.fixed_dictionaries(
        {
            "input_request": st.fixed_dictionaries(
                {"prompt": st.just("Go on?"), "schema": st.just({"type": "boolean"})},
                optional={"expires_in_seconds": st.just(90), "on_expiry": st.sampled_from(["fail", "resume"])},
            )
        },
        optional={"checkpoint": st.sampled_from([{"step": 1}, {"step": 2}]), "usage": USAGE},
    ),
    "released": st.just({}),
}
BAD: dict[str, st.SearchStrategy[Row]] = {
    "event": st.sampled_from([{"type": "status"}, {"type": "nonsense"}, {}, {"type": "log", "data": []}]),
    "heartbeat": st.sampled_from([{"progress": "half"}]),
    "completed": st.sampled_from(
        [
            {"messages": [{"content": "m"}]},
            {"response": "r", "deliverable": {**DELIVERABLE, "deliverable_id": str(uuid.UUID(int=7))}},
            {"response": "r", "deliverable": {**DELIVERABLE, "title": " "}},
            {"response": "r", "deliverable": DELIVERABLE, "usage": [{"provider": "p", "model": "m", "cost": -1}]},
        ]
    ),
    "failed": st.sampled_from(
        [{"retryable": True}, {"error_code": "Not Snake", "error_message": "m", "retryable": True}]
    ),
    "paused": st.sampled_from(
        [{}, {"input_request": {"prompt": " "}}, {"input_request": {"prompt": "p", "on_expiry": "x"}}]
    ),
}


@dataclass(frozen=True)
class Said:
    """One item: its kind, what it says, whether that may be taken at all, and how to choose the lease it names.

    Drawn before it is known which leases there are, since the database chooses what it gives: `of` counts through those
    that the worker holds, or through all that anybody ever held (stale).
    """

    kind: str
    content: Row
    valid: bool
    of: int
    stale: bool
    wrong_attempt: bool

    def about(self, held: list[Lease], ever: list[Lease]) -> Lease | None:
        leases = ever if self.stale or not held else held
        if not leases:
            return None
        lease = leases[self.of % len(leases)]
        return replace(lease, attempt=lease.attempt + 1) if self.wrong_attempt else lease


@st.composite
def said(draw: st.DrawFn, kinds: list[str]) -> Said:
    """Draw an item: one in eight malformed, one in five about any old lease, one in twelve with the wrong attempt."""
    kind = draw(st.sampled_from(kinds))
    valid = kind not in BAD or draw(st.integers(0, 7)) < 7
    content = draw((GOOD if valid else BAD)[kind])
    stale, wrong_attempt = draw(st.integers(0, 4)) == 4, draw(st.integers(0, 11)) == 11
    return Said(kind, content, valid, draw(NUMBER), stale, wrong_attempt)


# A list for one of the single functions, and a report of all kinds, where one in five says its first item twice.
ONE_KIND = st.sampled_from(list(LISTS)).flatmap(lambda kind: st.lists(said([kind]), min_size=1, max_size=3))
REPORT = st.builds(
    lambda says, twice: [*says, *says[:1]] if twice == 4 else says,
    st.lists(said(list(LISTS)), max_size=5),
    st.integers(0, 4),
)


def item_about(lease: Lease, content: Row) -> Row:
    return {"task_id": lease.task_id, "attempt": lease.attempt, "lease_token": lease.token} | content


def leases_of(answer: Row) -> list[Row]:
    """Give what an answer leases; what is told of each task may be newer when it is told again."""
    leases = [{n: t[n] for n in ("lease_token", "attempt", "lease_expires_at", "run_id")} for t in answer["tasks"]]
    return sorted(leases, key=lambda lease: str(lease["lease_token"]))


def check_outcomes(outcomes: list[Row], expected: list[Expected]) -> None:
    """Match outcomes to items by task and kind, in the order of each."""
    left = list(expected)
    for outcome in outcomes:
        match = next(e for e in left if e[:2] == (outcome["task_id"], outcome["kind"]))
        assert outcome["outcome"] in match[2], f"{outcome} where {match} was right"
        left.remove(match)
    assert left == []
