"""Lock order: any two writers that touch the same rows may meet at any of them, and neither is ever killed for it.

A third party holds the row where they are to meet until both wait or are done; so whoever takes locks in another
order than the rest is caught at the first try, not once in a thousand. Every wait is bounded.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import psycopg
import pytest

from tests.database.engine_checks import broken_promises, read_queue
from tests.database.kit import Connection, Session, World, connect
from tests.database.lock_scene import ACTS, GATES, Scene, actor, build

SECONDS = 10
TOKEN = re.compile("[a-z_]+")
DELETIONS = ["delete conversations", "delete agent", "delete user", "delete organization", "delete tasks"]
PAIRS: dict[tuple[str, str], list[str]] = {
    ("complete", "cancel"): ["task", "conversation"],
    ("complete", "cancel all"): ["second task", "conversation"],
    ("complete", "complete other way"): ["conversation", "deliverable", "agent"],
    ("complete", "edit"): ["deliverable"],
    ("complete", "delete deliverables"): ["task", "deliverable"],
    ("complete", "insert"): ["conversation", "organization"],
    ("complete", "promote"): ["organization", "user"],
    ("complete", "remove member"): ["task", "organization", "user"],
    ("complete", "set limits"): ["task", "organization"],
    ("complete", "reap"): ["task", "second task"],
    ("beat", "beat other way"): ["task", "second task"],
    ("beat", "complete"): ["task", "second task"],
    ("beat", "reap"): ["task", "second task"],
    ("beat", "cancel all"): ["task", "second task"],
    ("fail", "cancel all"): ["task", "second task", "waiting"],
    ("fail", "claim"): ["second task", "waiting"],
    ("ask", "cancel all"): ["task", "second task"],
    ("respond", "cancel paused"): ["paused"],
    ("respond", "cancel all"): ["paused", "task"],
    ("respond", "reap"): ["paused"],
    ("remove member", "cancel all"): ["task", "second task", "waiting"],
    ("respond", "remove member"): ["paused", "organization"],
    ("retry", "reap"): ["failed", "task"],
    ("retry", "redrive"): ["failed"],
    ("redrive", "claim"): ["failed", "waiting", "organization"],
    ("claim", "cancel all"): ["waiting", "task"],
    ("claim", "promote"): ["waiting", "organization", "user"],
    ("claim", "remove member"): ["waiting", "organization", "user"],
    ("claim", "set limits"): ["waiting", "organization"],
    ("claim", "reap"): ["waiting", "task"],
    ("enqueue", "enqueue other way"): ["organization", "agent", "user"],
    ("enqueue", "claim"): ["organization", "agent"],
    **{("complete", deletion): ["task", "conversation", "organization", "user"] for deletion in DELETIONS},
    **{("claim", deletion): ["waiting", "organization", "agent", "user"] for deletion in DELETIONS},
    **{("fail", deletion): ["task", "organization", "agent"] for deletion in DELETIONS},
    **{("beat", deletion): ["second task"] for deletion in DELETIONS},
    **{("reap", deletion): ["task", "agent"] for deletion in DELETIONS},
    **{("cancel all", deletion): ["second task", "waiting"] for deletion in DELETIONS},
    **{("respond", deletion): ["paused", "user"] for deletion in DELETIONS},
    **{("insert", deletion): ["conversation", "agent", "organization"] for deletion in DELETIONS},
}
CASES = [(*pair, gate) for pair, gates in PAIRS.items() for gate in gates]


def bounded(scene: Scene, name: str, session: Session) -> None:
    session.connection.execute(f"set statement_timeout = '{SECONDS}s'")
    ACTS[name][1](scene, session)


def wait_until_stuck_or_done(watcher: Connection, pid: int, future: Future[None]) -> None:
    """Return when the backend waits for a lock or sleeps before it tries for it again."""
    stuck = (
        "select cardinality(pg_blocking_pids(%s)) > 0"
        " or (select a.wait_event = 'PgSleep' from pg_stat_get_activity(%s) a) as waits"
    )
    give_up = time.monotonic() + SECONDS
    while not future.done() and time.monotonic() < give_up:
        row = watcher.execute(stuck, [pid, pid]).fetchone()
        if row and row["waits"]:
            return
        time.sleep(0.002)


@pytest.fixture(scope="module")
def three(dsn: str) -> Iterator[list[Connection]]:
    """Give the connections of the third party and of the two who meet, kept because their first use costs most."""
    with ExitStack() as stack:
        yield [stack.enter_context(connect(dsn)) for _ in range(3)]


def meet(scene: Scene, three: list[Connection], gate: str, names: list[str]) -> dict[str, BaseException | None]:
    """Let both act, the second when the first waits at the gate or is done; then open it. Returns their errors."""
    world = scene.tenant.world
    holder = replace(world.admin, connection=three[0])
    sessions = [replace(actor(scene, name), connection=own) for name, own in zip(names, three[1:], strict=True)]
    with ThreadPoolExecutor(2) as pool:
        futures: list[Future[None]] = []
        with holder.transaction() as connection:
            connection.execute(GATES[gate](scene)[0], [GATES[gate](scene)[1]])
            for name, session in zip(names, sessions, strict=True):
                futures.append(pool.submit(bounded, scene, name, session))
                wait_until_stuck_or_done(world.connection, session.connection.info.backend_pid, futures[-1])
        return {name: future.exception(2 * SECONDS) for name, future in zip(names, futures, strict=True)}


def refusal_of(error: BaseException | None) -> str | None:
    """Name what must not happen: anything but success or a refusal of ours, whose message is a token."""
    if error is None or (isinstance(error, psycopg.Error) and TOKEN.fullmatch(str(error.diag.message_primary))):
        return None
    if isinstance(error, psycopg.errors.ForeignKeyViolation) and 'on table "tasks"' in str(error):
        return None  # a member inserts a task for what is just being deleted
    return f"{getattr(error, 'sqlstate', '')} {error}"


@pytest.mark.parametrize(("one", "other", "gate"), CASES, ids=lambda value: str(value).replace(" ", "_"))
@pytest.mark.parametrize("swapped", [False, True], ids=["in_order", "swapped"])
def test_two_writers_that_meet_at_a_row_both_get_through(  # noqa: PLR0917 - what a case is, and two fixtures
    world: World, three: list[Connection], one: str, other: str, gate: str, swapped: bool
) -> None:
    scene = build(world)
    errors = meet(scene, three, gate, [other, one] if swapped else [one, other])
    wrong = [f"{name}: {refusal_of(error)}" for name, error in errors.items() if refusal_of(error)]
    assert not wrong, "\n".join(wrong)
    broken = broken_promises(read_queue(world.admin, [scene.slug]))
    assert not broken, "\n".join(broken)


def test_the_gate_catches_writers_who_take_locks_in_opposite_order(world: World) -> None:
    """The method itself: two writers who lock two tasks in opposite order are killed."""
    scene = build(world)
    tasks = [lease["task"]["id"] for lease in scene.leases[0]]

    def lock_both(order: list[str]) -> Callable[[Session], None]:
        def act(session: Session) -> None:
            with session.transaction() as connection:
                for task_id in order:
                    connection.execute("select from public.tasks where id = %s for update", [task_id])
                    time.sleep(0.1)

        return act

    with world.admin.fresh() as one, world.admin.fresh() as other, ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(lock_both(tasks), one), pool.submit(lock_both(tasks[::-1]), other)]
        errors = [future.exception(2 * SECONDS) for future in futures]
    assert [e.sqlstate for e in errors if isinstance(e, psycopg.Error)] == ["40P01"]
