"""People, turns and workers at one orchestrator at once: nobody waits in a circle, and the counters are right."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from functools import partial

import psycopg

from tests.database.kit import Row, Session, Tenant, Worker, in_parallel, item
from tests.database.orchestrator_kit import USAGE, boss, fence, instance, say, tool, turn
from tests.database.pauses import reap

ROUNDS = 12
OWN = {"agent_instance_not_found", "agent_instance_archived", "orchestrator_not_found", "lease_lost"}


def lived(tenant: Tenant, worker: Worker) -> None:
    """Let two agents be there before everybody comes."""
    lease = turn(tenant, worker)
    for name in ("one", "two"):
        tool(tenant, lease, "create_agent", name=name)
    assert worker.complete(lease) == "ok"


def attempt(act: Callable[[], None]) -> None:
    """Do something that may be refused, and in no other way fail."""
    try:
        act()
    except psycopg.Error as error:
        if error.diag.message_primary not in OWN:
            raise


def play(tenant: Tenant, worker: Worker, session: Session, chance: random.Random) -> None:
    """Work as a worker does: claim, use tools, end in all ways."""
    mine = worker.on(session)
    for lease in mine.claim(tenant, 4):
        if lease["task"]["method"] == "orchestrate":
            name = chance.choice(("one", "two"))
            used, given = chance.choice(
                [("command_agent", {"name": name, "prompt": "x"}), ("interrupt_agent", {"name": name}), ("cost", {})]
            )
            call = {"call_id": uuid.uuid4().hex, "name": used, "arguments": given}
            attempt(partial(call_tool, session, lease, call))
            if chance.random() < 0.3:
                waits = {"call_id": "w", "agent_slug": name, "agent_instance": name, "prompt": "x", "params": {}}
                mine.report("pause_task", fence(lease) | {"agent_calls": [waits], "usage": USAGE})
                continue
        if chance.random() < 0.2:
            mine.fail(lease, usage=USAGE)
        else:
            mine.report("complete_tasks", item(lease, response="done", messages=[{"content": "done"}], usage=USAGE))


def call_tool(session: Session, lease: Row, call: Row) -> None:
    session.call("call_orchestrator", **fence(lease), action="tool", arguments=call)


def speak(tenant: Tenant, session: Session, _one: str) -> None:
    say(tenant, "Go", session)


def command(tenant: Tenant, session: Session, one: str) -> None:
    say(tenant, "Go", session, agent_instance_id=one)


def interrupt_one(_tenant: Tenant, session: Session, one: str) -> None:
    session.call("interrupt_agent_instance", agent_instance_id=one)


def interrupt_all(tenant: Tenant, session: Session, _one: str) -> None:
    session.call("interrupt_orchestrator", organization_slug=tenant.slug)


DEEDS = (speak, command, speak, command, speak, command, interrupt_one, interrupt_all)


def test_everybody_at_once(tenant: Tenant, worker: Worker) -> None:
    lived(tenant, worker)
    ids = [instance(tenant, name)["id"] for name in ("one", "two")]
    admin, member = tenant.join("admin"), tenant.join("member")

    def act(session: Session) -> None:
        chance = random.Random(session.id or id(session))  # noqa: S311 - a test's dice
        for _ in range(ROUNDS):
            if session.role == "service_role":
                play(tenant, worker, session, chance)
            else:
                attempt(partial(chance.choice(DEEDS), tenant, session, chance.choice(ids)))

    service = tenant.world.service
    results = in_parallel([service, service, service, tenant.owner, admin, member], act)
    assert results == [None] * 6
    for _ in range(60):
        reap(worker)
        leases = worker.claim(tenant, 50)
        if not leases:
            break
        for lease in leases:
            assert worker.complete(lease, usage=USAGE) == "ok"
    tenant.owner.call("interrupt_orchestrator", organization_slug=tenant.slug)
    reap(worker)
    for row, column in (
        (boss(tenant), "orchestrator_agent_id"),
        *((instance(tenant, n), "agent_instance_id") for n in ("one", "two")),
    ):
        own = "and o.agent_instance_id is null" if column == "orchestrator_agent_id" else ""
        found = tenant.world.admin.row(
            "select coalesce(sum(u.output_tokens), 0) as output_tokens, coalesce(sum(u.cost), 0) as total_cost"
            " from private.orchestrator_tasks o join public.usage_events u on u.task_id = o.task_id"
            f" where o.{column} = %s {own}",
            row["id"],
        )
        assert found == {name: row[name] for name in found}
        assert row["status"] in {"idle", "blocked"}
    told = tenant.world.admin.value(
        "select count(*) from private.orchestrator_tasks o where o.orchestrator_agent_id = %s"
        " and o.agent_instance_id is not null and o.has_ended and not o.is_told",
        boss(tenant)["id"],
    )
    assert told == 0, "every answer stands in its conversation"
