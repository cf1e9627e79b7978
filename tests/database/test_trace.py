"""The trace as the database keeps it: steps that workers report, whole trees of runs in one request, shared data."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from tests.database.kit import Row, Tenant, Worker, World, item, refused
from tests.database.pauses import reap

LONG = "word " * 1000


@pytest.fixture(scope="module")
def place(scene: World) -> Tenant:
    return scene.tenant()


def step(number: int, **more: Any) -> Row:
    return {"sequence_number": number, "type": "tool_call", "name": f"step {number}", **more}


def report(worker: Worker, lease: Row, *steps: Row) -> list[str]:
    return worker.report("add_run_steps", item(lease, steps=list(steps)))


def started(tenant: Tenant, **columns: Any) -> tuple[Worker, Row]:
    tenant.task(**columns)
    worker = tenant.world.worker()
    return worker, worker.claim_one(tenant)


def kept(tenant: Tenant, lease: Row) -> list[Row]:
    return tenant.owner.rows(
        "select * from public.run_steps where run_id = %s order by sequence_number", lease["lease_token"]
    )


def test_steps_are_kept_in_order_with_what_they_cost(place: Tenant) -> None:
    worker, lease = started(place)
    cost = {"input_tokens": 10, "output_tokens": 5, "cost": 0.25, "metadata": {"model": "m"}}
    assert report(worker, lease, step(2), step(1, type="llm_call", input={"a": 1}, output="b", **cost)) == ["ok"]
    first, second = kept(place, lease)
    assert (first["type"], first["input"], first["output"], first["status"]) == ("llm_call", {"a": 1}, "b", "completed")
    assert (first["input_tokens"], first["output_tokens"], float(first["cost"])) == (10, 5, 0.25)
    assert (first["metadata"], first["is_cut"], second["name"]) == ({"model": "m"}, False, "step 2")


def test_a_step_that_runs_is_ended_later_and_then_stays(place: Tenant) -> None:
    worker, lease = started(place)
    report(worker, lease, step(1, status="running", input="in"))
    assert kept(place, lease)[0]["completed_at"] is None
    report(worker, lease, step(1, status="failed", error_message="x"), step(2), step(2, name="newer"))
    report(worker, lease, step(1, status="completed", output="too late"))
    one, two = kept(place, lease)
    assert (one["status"], one["error_message"], one["output"], two["name"]) == ("failed", "x", None, "newer")


def test_steps_go_with_the_end_of_an_attempt_and_never_spoil_it(place: Tenant) -> None:
    worker, lease = started(place)
    assert worker.complete(lease, steps=[step(1), step(2, output=LONG)]) == "ok"
    assert [row["is_cut"] for row in kept(place, lease)] == [False, True]
    for bad in ([step(1, type="thought")], [step("one")], "none", [5], [step(0)], [step(10_001)], None):  # type: ignore[arg-type]
        worker, lease = started(place)
        assert worker.complete(lease, steps=bad) == "ok", bad
        assert kept(place, lease) == []


def test_bad_steps_of_one_item_leave_those_of_the_others(place: Tenant) -> None:
    leases = []
    worker = place.world.worker()
    for _ in range(2):
        place.task()
        leases.append(worker.claim_one(place))
    items = [item(leases[0], response="x", steps=[step(-1)]), item(leases[1], response="x", steps=[step(1)])]
    assert worker.report("complete_tasks", *items) == ["ok", "ok"]
    assert [len(kept(place, lease)) for lease in leases] == [0, 1]


def test_the_steps_of_a_result_that_is_not_taken_are_kept(place: Tenant) -> None:
    worker, lease = started(place)
    assert worker.report("complete_tasks", item(lease, steps=[step(1)])) == ["invalid"]
    assert len(kept(place, lease)) == 1


def test_only_the_holder_of_the_lease_writes_steps(place: Tenant) -> None:
    worker, lease = started(place)
    assert report(place.world.worker(), lease, step(1)) == ["lost"]
    assert report(worker, {**lease, "attempt": 7}, step(1)) == ["lost"]
    worker.complete(lease)
    assert report(worker, lease, step(1)) == ["lost"]
    assert kept(place, lease) == []
    with refused("42501"):
        place.owner.call("add_run_steps", worker_id="w", items=json.dumps([]))


def test_a_report_carries_steps_before_the_end_that_follows_them(place: Tenant) -> None:
    worker, lease = started(place)
    told = {"steps": [item(lease, steps=[step(1)])], "completed": [item(lease, response="x", steps=[step(2)])]}
    answer = worker.exchange(report=told)
    assert [(o["kind"], o["outcome"]) for o in answer["outcomes"]] == [("step", "ok"), ("completed", "ok")]
    assert len(kept(place, lease)) == 2


@pytest.mark.parametrize(("code", "status"), [("agent_error", "failed"), (None, "cancelled")])
def test_what_still_runs_ends_with_its_run(place: Tenant, code: str | None, status: str) -> None:
    worker, lease = started(place, max_attempts=1)
    report(worker, lease, step(1, status="running"), step(2))
    if code:
        worker.fail(lease, error_code=code)
    else:
        place.owner.call("cancel_task", task_id=lease["task"]["id"])
    assert [row["status"] for row in kept(place, lease)] == [status, "completed"]


def test_what_a_lost_worker_left_running_ends_with_its_run(tenant: Tenant) -> None:
    worker, lease = started(tenant, max_attempts=1)
    report(worker, lease, step(1, status="running"))
    late = "update public.tasks set lease_expires_at = now() - interval '1 minute' where id = %s"
    tenant.world.admin.execute(late, lease["task"]["id"])
    assert report(worker, lease, step(1, status="completed"), step(2)) == ["lost"]
    reap(worker)
    (one,) = kept(tenant, lease)
    assert (one["status"], one["error_message"]) == ("cancelled", "The run ended as abandoned before this step did.")


def test_what_is_large_is_kept_once_and_cut_in_lists(tenant: Tenant) -> None:
    worker, lease = started(tenant)
    document = {"text": LONG}
    huge = "x" * 1_200_000
    report(worker, lease, step(1, input=document, output=LONG), step(2, input=document), step(3, output=huge))
    one, two, three = kept(tenant, lease)
    assert (len(one["input"]), one["output"]) == (2000, LONG[:2000])
    assert one["input_payload"] == two["input_payload"]
    payload = "select count(*) from private.step_payloads where organization_slug = %s"
    assert tenant.world.admin.value(payload, tenant.slug) == 3
    whole = tenant.owner.call("run_step_payload", step_id=one["id"])
    assert (whole["input"], whole["output"]) == (document, LONG)
    assert len(tenant.owner.call("run_step_payload", step_id=three["id"])["output"]) == 1_000_000
    with refused("PT404", "run_step_not_found"):
        tenant.join("member").call("run_step_payload", step_id=one["id"])


def test_of_metadata_that_would_swell_whole_trees_the_size_is_kept(place: Tenant) -> None:
    worker, lease = started(place)
    assert report(worker, lease, step(1, metadata={"note": "x" * 9000}), step(2, metadata={"note": "x"})) == ["ok"]
    one, two = kept(place, lease)
    assert list(one["metadata"]) == ["metadata_bytes"]
    assert (one["metadata"]["metadata_bytes"] > 9000, two["metadata"]) == (True, {"note": "x"})


def test_no_two_organizations_can_share_what_is_kept_once(place: Tenant) -> None:
    # One's name may begin with the other's, and a month stands between name and content.
    same = "select private.payload_id('a', %s::jsonb) = private.payload_id('a' || to_char(now(), 'YYYYMM'), %s::jsonb)"
    digits = "7" * 3000
    month = place.world.admin.value("select to_char(private.clock(), 'YYYYMM')")
    assert place.world.admin.value(same, month + digits, digits) is False


def test_what_no_step_names_is_purged_when_it_is_old(tenant: Tenant) -> None:
    worker, lease = started(tenant)
    report(worker, lease, step(1, output=LONG), step(2, output=LONG + "!"))
    admin = tenant.world.admin
    admin.execute("delete from public.run_steps where run_id = %s and sequence_number = 1", lease["lease_token"])
    count = "select count(*) from private.step_payloads where organization_slug = %s"
    assert admin.value("select private.purge_step_payloads()") == 0
    age = "update private.step_payloads set looked_at = now() - interval '33 days' where organization_slug = %s"
    admin.execute(age, tenant.slug)
    assert admin.value("select private.purge_step_payloads()") == 1
    assert admin.value(count, tenant.slug) == 1


def call_agent(tenant: Tenant, lease: Row, worker: Worker, call_id: str = "c1") -> Row:
    """Let a run call an agent, and claim the task that comes of it."""
    calls = [{"call_id": call_id, "agent_slug": tenant.agent, "prompt": "Check."}]
    assert worker.report("pause_task", item(lease, agent_calls=calls)) == ["ok"]
    return worker.claim_one(tenant)


def test_a_tree_of_runs_is_read_in_one_request(tenant: Tenant) -> None:
    worker, top = started(tenant)
    report(worker, top, step(1), step(2, type="agent_call"))
    below = call_agent(tenant, top, worker)
    report(worker, below, step(1))
    lowest = call_agent(tenant, below, worker)
    report(worker, lowest, step(1), step(2), step(3))
    tree = tenant.owner.call("run_tree", run_id=top["lease_token"])
    (child,) = tree["children"]
    (leaf,) = child["children"]
    assert [len(node["steps"]) for node in (tree, child, leaf)] == [2, 1, 3]
    assert [node["run"]["id"] for node in (tree, child, leaf)] == [r["lease_token"] for r in (top, below, lowest)]
    assert leaf["run"]["parent_run_id"] == below["lease_token"]
    assert leaf["run"]["call_stack"] == [tenant.agent, tenant.agent]
    assert (tree["more_after"], leaf["more_after"], tree["runs_are_cut"]) == (None, None, False)
    trace = tenant.owner.call("task_trace", task_id=top["task"]["id"])
    assert trace["trees"] == [tree]


def test_a_long_tree_is_read_page_by_page(tenant: Tenant) -> None:
    worker, top = started(tenant)
    report(worker, top, *(step(number) for number in range(1, 8)))
    below = call_agent(tenant, top, worker)
    report(worker, below, step(1))
    found: list[int] = []
    after = 0
    for _ in range(5):
        page = tenant.owner.call("run_tree", run_id=top["lease_token"], max_steps=3, after_sequence=after)
        found += [one["sequence_number"] for one in page["steps"]]
        if page["more_after"] is None:
            break
        after = page["more_after"]
    assert found == [1, 2, 3, 4, 5, 6, 7]
    first = tenant.owner.call("run_tree", run_id=top["lease_token"], max_steps=3)
    assert (first["children"][0]["steps"], first["children"][0]["more_after"]) == ([], 0)
    for wrong in ({"max_steps": 0}, {"max_steps": 5001}, {"after_sequence": -1}):
        with refused("22023", "page_out_of_range"):
            tenant.owner.call("run_tree", run_id=top["lease_token"], **wrong)


def test_nobody_else_reads_a_trace(tenant: Tenant) -> None:
    member, colleague = tenant.join("member"), tenant.join("developer")
    tenant.task(member)
    worker = tenant.world.worker()
    lease = worker.claim_one(tenant)
    report(worker, lease, step(1, output=LONG))
    run_id, step_id = lease["lease_token"], kept(tenant, lease)[0]["id"]
    for session in (member, tenant.owner):
        assert len(session.call("run_tree", run_id=run_id)["steps"]) == 1
    for session in (colleague, tenant.world.tenant().owner):
        with refused("PT404", "run_not_found"):
            session.call("run_tree", run_id=run_id)
        with refused("PT404", "run_step_not_found"):
            session.call("run_step_payload", step_id=step_id)
        assert session.call("task_trace", task_id=lease["task"]["id"])["trees"] == []
        assert session.rows("select * from public.run_steps where id = %s", step_id) == []
    with refused("42501"):
        tenant.world.anon.call("run_tree", run_id=run_id)


def test_data_is_shared_within_a_tree_of_calls_and_no_further(tenant: Tenant) -> None:
    def fence(lease: Row) -> Row:
        return {"task_id": lease["task"]["id"], "attempt": lease["attempt"], "lease_token": lease["lease_token"]}

    service = tenant.world.service

    def save(lease: Row, key: str, value: Any, **more: Any) -> None:
        service.call("write_workflow_data", **fence(lease), key=key, value=json.dumps(value), **more)

    def read(lease: Row, key: str) -> Any:
        found = service.call("read_workflow_data", **fence(lease), key=key)
        return found and found["value"]

    worker, top = started(tenant)
    save(top, "draft", 1)
    save(top, "draft", {"n": 2}, tags=["final"])
    below = call_agent(tenant, top, worker)
    assert (read(below, "draft"), read(below, "other")) == ({"n": 2}, None)
    save(below, "check", "fine")
    _, stranger = started(tenant)
    assert read(stranger, "draft") is None
    with refused("PT409", "lease_lost"):
        save(top, "draft", 3)  # it has paused
    for run_id in (top["lease_token"], below["lease_token"]):
        latest = tenant.owner.rows("select * from public.latest_workflow_data(run_id => %s)", run_id)
        assert [(row["key"], row["value"]) for row in latest] == [("check", "fine"), ("draft", {"n": 2})]
    tagged = "select key from public.latest_workflow_data(run_id => %s, tag => 'final')"
    assert tenant.owner.rows(tagged, top["lease_token"]) == [{"key": "draft"}]
    assert tenant.join("member").rows(tagged, top["lease_token"]) == []
    with refused("22023", "scope_unclear"):
        tenant.owner.rows("select * from public.latest_workflow_data()")


def test_a_trace_context_is_a_traceparent_and_goes_down_to_what_is_called(tenant: Tenant) -> None:
    given = f"00-{'a' * 32}-{'b' * 16}-01"
    worker, top = started(tenant, trace_context=given)
    assert top["task"]["trace_context"] == given
    below = call_agent(tenant, top, worker)
    span = top["lease_token"].replace("-", "")[-16:]
    assert below["task"]["trace_context"] == f"00-{'a' * 32}-{span}-01"
    worker, alone = started(tenant)
    assert alone["task"]["trace_context"] is None
    below = call_agent(tenant, alone, worker)
    assert below["task"]["trace_context"].split("-")[1] == alone["task"]["id"].replace("-", "")
    for wrong in ("x", f"00-{'0' * 32}-{'b' * 16}-01", f"00-{'A' * 32}-{'b' * 16}-01"):
        with pytest.raises(psycopg.errors.CheckViolation):
            tenant.task(trace_context=wrong)
