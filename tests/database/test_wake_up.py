"""When the database tells listening workers to look: for a task that may be claimed now, and only while one listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Tenant, Worker, World, connect, item

LOCK = "hashtextextended('orchestrator_tasks', 0)"


class Ear:
    """A session that listens, and one more that holds the lock by which the database knows of it."""

    def __init__(self, dsn: str) -> None:
        self._ear = connect(dsn)
        self._ear.execute("listen orchestrator_tasks")
        self._lock = connect(dsn)
        self.say_so()

    def say_so(self) -> None:
        self._lock.execute(f"select pg_advisory_lock_shared({LOCK})".encode())

    def hide(self) -> None:
        self._lock.execute(f"select pg_advisory_unlock_shared({LOCK})".encode())

    def heard(self) -> list[str]:
        """Return the payloads since the last look; what was committed before this is among them."""
        self._ear.execute("select")
        return [notification.payload for notification in self._ear.notifies(timeout=0)]

    def close(self) -> None:
        self._ear.close()
        self._lock.close()


@pytest.fixture
def ear(dsn: str) -> Iterator[Ear]:
    ear = Ear(dsn)
    yield ear
    ear.close()


def insert(tenant: Tenant, count: int = 1, when: str = "0") -> None:
    tenant.owner.execute(
        "insert into public.tasks (organization_slug, agent_slug, method, prompt, scheduled_at)"
        " select %s, %s, 'process', 'x', now() + %s::interval from generate_series(1, %s)",
        tenant.slug,
        tenant.agent,
        when,
        count,
    )


def test_a_new_task_wakes(tenant: Tenant, ear: Ear) -> None:
    insert(tenant)
    assert ear.heard() == [""]


def test_a_transaction_wakes_once_however_many_tasks_it_makes(tenant: Tenant, ear: Ear) -> None:
    insert(tenant, 1000)
    assert ear.heard() == [""]
    with tenant.owner.transaction():
        for _ in range(3):
            tenant.owner.connection.execute("savepoint one")
            tenant.owner.connection.execute(
                "insert into public.tasks (organization_slug, agent_slug, method, prompt)"
                " values (%s, %s, 'process', 'x')",
                [tenant.slug, tenant.agent],
            )
    assert ear.heard() == [""]


def test_nothing_is_sent_while_nobody_listens(tenant: Tenant, ear: Ear) -> None:
    ear.hide()
    insert(tenant)
    assert ear.heard() == []
    ear.say_so()
    insert(tenant)
    assert ear.heard() == [""]


def test_a_listener_that_is_gone_is_known_to_be(tenant: Tenant, world: World, ear: Ear) -> None:
    ear.hide()
    with connect(tenant.owner.dsn) as other:
        other.execute(f"select pg_advisory_lock_shared({LOCK})".encode())
        insert(tenant)
        assert ear.heard() == [""]
        pid = other.info.backend_pid
        world.admin.execute("select pg_terminate_backend(%s, 5000)", pid)
        insert(tenant)
        assert ear.heard() == []
        with pytest.raises(psycopg.OperationalError):
            other.execute("select")


def test_many_listeners_do_not_disturb_each_other(tenant: Tenant, dsn: str, ear: Ear) -> None:
    second = Ear(dsn)
    insert(tenant)
    assert (ear.heard(), second.heard()) == ([""], [""])
    second.close()
    insert(tenant)
    assert ear.heard() == [""]


def test_a_task_for_later_does_not_wake_until_it_is_brought_forward(tenant: Tenant, world: World, ear: Ear) -> None:
    insert(tenant, when="1 hour")
    assert ear.heard() == []
    world.service.update("tasks", {"organization_slug": tenant.slug}, priority=1)
    assert ear.heard() == []
    world.service.execute("update public.tasks set scheduled_at = now() where organization_slug = %s", tenant.slug)
    assert ear.heard() == [""]


def test_a_failed_attempt_wakes_nobody_before_its_wait_is_over(tenant: Tenant, worker: Worker, ear: Ear) -> None:
    insert(tenant)
    ear.heard()
    worker.fail(worker.claim_one(tenant), retryable=True)
    assert ear.heard() == []
    assert tenant.world.admin.value("select status from public.tasks where organization_slug = %s", tenant.slug) == (
        "pending"
    )


def ask(tenant: Tenant, task_id: str) -> str:
    service = tenant.world.service
    row = {"organization_slug": tenant.slug, "task_id": task_id, "prompt": "Which?", "schema": Jsonb({})}
    return str(service.insert("input_requests", **row)["id"])


def release(tenant: Tenant, worker: Worker) -> None:
    worker.report("release_tasks", item(worker.claim_one(tenant)))


def retry(tenant: Tenant, worker: Worker) -> None:
    lease = worker.claim_one(tenant)
    worker.fail(lease)
    tenant.owner.call("retry_task", task_id=lease["task"]["id"])


def answer(tenant: Tenant, worker: Worker) -> None:
    task_id = worker.claim_one(tenant)["task"]["id"]
    question = ask(tenant, task_id)
    tenant.world.service.update("tasks", {"id": task_id}, status="paused")
    tenant.owner.call("respond_to_input_request", input_request_id=question, response=Jsonb("this"))


@pytest.mark.parametrize("act", [release, retry, answer])
def test_a_task_that_comes_back_wakes(
    tenant: Tenant, worker: Worker, ear: Ear, act: Callable[[Tenant, Worker], None]
) -> None:
    insert(tenant)
    assert ear.heard() == [""]
    act(tenant, worker)
    assert ear.heard() == [""]


def test_work_of_a_lost_worker_wakes_the_others(tenant: Tenant, worker: Worker, ear: Ear) -> None:
    insert(tenant)
    lease = worker.claim_one(tenant)
    ear.heard()
    admin = tenant.world.admin
    admin.execute("update public.tasks set lease_expires_at = now() where id = %s", lease["task"]["id"])
    admin.execute("update private.maintenance set last_run_at = '-infinity'")
    worker.exchange()
    assert ear.heard() == [""]


def test_claims_heartbeats_and_ends_wake_nobody(tenant: Tenant, worker: Worker, ear: Ear) -> None:
    insert(tenant, 3)
    ear.heard()
    leases = worker.claim(tenant, 3)
    worker.report("heartbeat_tasks", *[item(lease, progress=10) for lease in leases])
    worker.complete(leases[0])
    worker.fail(leases[1])
    tenant.owner.call("cancel_task", task_id=leases[2]["task"]["id"])
    assert ear.heard() == []


def test_a_queue_that_goes_on_wakes(tenant: Tenant, ear: Ear) -> None:
    tenant.owner.call("pause_queue", organization_slug=tenant.slug, reason="Upgrade")
    insert(tenant)
    ear.heard()
    tenant.owner.rows("select from public.resume_queue(%s)", tenant.slug)
    assert ear.heard() == [""]
