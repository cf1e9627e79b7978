"""Which remote task works for a task, and in which context of its server a conversation goes on."""

from __future__ import annotations

from typing import Any

from tests.database.kit import Row, Tenant, Worker, item, refused

SERVER = "https://agents.example/"


def begin(worker: Worker, lease: Row, server: str = SERVER) -> Row:
    answer: Row = worker.session.call("begin_remote_task", **item(lease), server=server)
    return answer


def keep(worker: Worker, lease: Row, **changes: Any) -> None:
    ids = {"message_id": "m-1", "remote_task_id": "r-1", "context_id": "c-1", **changes}
    worker.session.call("keep_remote_task", **item(lease), **ids)


def expire(tenant: Tenant, task_id: str) -> None:
    tenant.world.admin.execute(
        "update public.tasks set lease_expires_at = private.clock() - interval '1 second' where id = %s", task_id
    )


def test_a_task_begins_with_a_message_of_its_first_attempt_and_keeps_what_the_server_said(
    tenant: Tenant, worker: Worker
) -> None:
    task_id = tenant.task()
    lease = worker.claim_one(tenant)
    first = {"message_id": f"{task_id}.1", "remote_task_id": None, "context_id": None}
    assert begin(worker, lease) == begin(worker, lease) == first
    keep(worker, lease)
    assert begin(worker, lease) == {"message_id": "m-1", "remote_task_id": "r-1", "context_id": "c-1"}


def test_the_next_attempt_finds_it_unless_it_was_forgotten(tenant: Tenant, worker: Worker) -> None:
    task_id = tenant.task(backoff="0 seconds")
    lease = worker.claim_one(tenant)
    begin(worker, lease)
    assert worker.fail(lease, retryable=True) == "ok"
    second = worker.claim_one(tenant)
    assert begin(worker, second)["message_id"] == f"{task_id}.1"
    keep(worker, second)
    assert worker.fail(second, retryable=True) == "ok"
    third = worker.claim_one(tenant)
    assert begin(worker, third)["remote_task_id"] == "r-1"
    worker.session.call("forget_remote_task", **item(third))
    assert begin(worker, third) == {"message_id": f"{task_id}.3", "remote_task_id": None, "context_id": None}


def test_another_server_knows_nothing_of_it(tenant: Tenant, worker: Worker) -> None:
    tenant.task(agent_conversation_id=tenant.conversation())
    lease = worker.claim_one(tenant)
    begin(worker, lease)
    keep(worker, lease)
    elsewhere = begin(worker, lease, "https://other.example/")
    assert (elsewhere["remote_task_id"], elsewhere["context_id"]) == (None, None)


def test_a_conversation_goes_on_in_its_context_and_no_other_does(tenant: Tenant, worker: Worker) -> None:
    conversation = tenant.conversation()
    for context in ("c-1", "c-2"):
        tenant.task(agent_conversation_id=conversation)
        lease = worker.claim_one(tenant)
        begin(worker, lease)
        keep(worker, lease, context_id=context)
        assert worker.complete(lease) == "ok"
    tenant.task(agent_conversation_id=conversation)
    lease = worker.claim_one(tenant)
    assert begin(worker, lease)["context_id"] == "c-2"
    assert worker.complete(lease) == "ok"
    for other in (tenant.conversation(), None):
        tenant.task(agent_conversation_id=other)
        lease = worker.claim_one(tenant)
        assert begin(worker, lease)["context_id"] is None
        assert worker.complete(lease) == "ok"


def test_only_the_attempt_that_holds_the_lease_reads_and_writes(tenant: Tenant, worker: Worker) -> None:
    task_id = tenant.task()
    lease = worker.claim_one(tenant)
    begin(worker, lease)
    wrong = {**lease, "lease_token": "00000000-0000-4000-8000-000000000000"}
    late = {**lease, "attempt": 2}
    for stale in (wrong, late):
        with refused("PT409", "lease_lost"):
            begin(worker, stale)
        with refused("PT409", "lease_lost"):
            keep(worker, stale)
        with refused("PT409", "lease_lost"):
            worker.session.call("forget_remote_task", **item(stale))
    expire(tenant, task_id)
    with refused("PT409", "lease_lost"):
        keep(worker, lease)
    tenant.owner.call("cancel_task", task_id=task_id)
    with refused("PT409", "lease_lost"):
        begin(worker, lease)


def test_it_goes_with_the_task_and_the_conversation(tenant: Tenant, worker: Worker) -> None:
    conversation = tenant.conversation()
    task_id = tenant.task(agent_conversation_id=conversation)
    lease = worker.claim_one(tenant)
    begin(worker, lease)
    keep(worker, lease)
    admin = tenant.world.admin
    counts = (
        "select (select count(*) from private.remote_tasks r where r.task_id = %s)"
        " + (select count(*) from private.remote_contexts c where c.agent_conversation_id = %s)"
    )
    assert admin.value(counts, task_id, conversation) == 2
    admin.execute("delete from public.tasks where id = %s", task_id)
    admin.execute("delete from public.agent_conversations where id = %s", conversation)
    assert admin.value(counts, task_id, conversation) == 0
