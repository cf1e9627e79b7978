"""The key `deliverable` of steps: what an agent gives there ends as a deliverable of the project's user."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Tenant, Worker, refused
from tests.database.project_kit import Project, agent_step, claim_all, new_project, started
from tests.database.workflow_kit import add_workflow, edge, node, steps

REPORT = {"title": "Tides", "type": "report", "format": "markdown", "content": "# Tides"}


def deliverables(project: Project) -> list[Row]:
    query = (
        "select d.*, s.step_id from public.deliverables d join public.project_steps s on s.id = d.project_step_id"
        " where s.project_id = %s order by d.title"
    )
    return project.tenant.world.admin.rows(query, project.id)


def test_a_step_ends_as_a_deliverable_that_the_overview_shows(tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, [agent_step(tenant, "draft"), agent_step(tenant, "write", "draft", deliverable="report")])
    draft = claim_all(worker, tenant)["draft"]
    assert (draft["task"]["method"], draft["task"]["deliverable_type"]) == ("converse", "text")
    worker.complete(draft)
    write = claim_all(worker, tenant)["write"]
    assert (write["task"]["method"], write["task"]["deliverable_type"]) == ("process", "report")
    assert write["task"]["agent_conversation_id"] is None
    assert worker.complete(write, response="# Tides", deliverable=REPORT) == "ok"

    assert (project.status, project.result("write")) == ("completed", "# Tides")
    (made,) = deliverables(project)
    read = project.read()
    assert (made["step_id"], made["type"], made["title"]) == ("write", "report", "Tides")
    assert (made["organization_slug"], made["user_id"]) == (tenant.slug, read["user_id"])
    assert made["conversation_id"] == read["conversation_id"]
    first, last = tenant.owner.call("project_overview", project_id=project.id)["steps"]
    assert (first["deliverables"], [d["id"] for d in last["deliverables"]]) == ([], [str(made["id"])])
    progress = tenant.owner.row("select * from public.project_progress where id = %s", project.id)
    assert (progress["deliverable_count"], progress["total_tasks"]) == (1, 2)


def test_a_map_makes_one_for_each_element(tenant: Tenant, worker: Worker) -> None:
    each = {"type": "map", "over": "list", "prompt": "{{ item }}", "deliverable": "page"}
    project = started(tenant, [agent_step(tenant, "list"), agent_step(tenant, "each", "list", **each)])
    worker.complete(claim_all(worker, tenant)["list"], response='["a", "b"]')
    for lease in claim_all(worker, tenant).values():
        assert (lease["task"]["method"], lease["task"]["deliverable_type"]) == ("process", "page")
        prompt = lease["task"]["prompt"]
        assert worker.complete(lease, response=prompt, deliverable=REPORT | {"title": prompt}) == "ok"
    assert (project.status, project.result("each")) == ("completed", ["a", "b"])
    assert [d["title"] for d in deliverables(project)] == ["a", "b"]


def test_who_shares_the_conversation_reads_it_and_other_colleagues_do_not(tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, [agent_step(tenant, "write", deliverable="report")], user=tenant.join("member"))
    worker.complete(claim_all(worker, tenant)["write"], deliverable=REPORT)
    friend, colleague = tenant.join("member"), tenant.join("member")
    tenant.world.admin.execute(
        "insert into public.conversation_participants (conversation_id, user_id) values (%s, %s)",
        project.read()["conversation_id"],
        friend.id,
    )
    counts = [s.value("select count(*) from public.deliverables") for s in (project.session, friend, colleague)]
    assert counts == [1, 1, 0]


def test_a_report_does_not_wait_for_a_conversation_that_is_being_deleted(tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, [agent_step(tenant, "write", deliverable="report")])
    lease = claim_all(worker, tenant)["write"]
    with tenant.world.admin.fresh() as other, other.transaction():
        other.execute(
            "select from public.agent_conversations where id = %s for update", project.read()["conversation_id"]
        )
        assert worker.complete(lease, deliverable=REPORT) == "ok"
    assert [d["conversation_id"] for d in deliverables(project)] == [None]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"deliverable": " "}, "blank"),
        ({"deliverable": "x" * 101}, "over 100 characters"),
        ({"deliverable": 7}, "no text"),
        ({"deliverable": {"type": "report"}}, "no text"),
        ({"type": "transform", "transform": ".", "deliverable": "report"}, 'which has no "deliverable"'),
        ({"type": "human_input", "deliverable": "report"}, 'which has no "deliverable"'),
    ],
)
def test_what_is_no_type_of_a_deliverable_is_refused(tenant: Tenant, more: dict[str, Any], words: str) -> None:
    step = ({} if "type" in more else {"agent": tenant.agent}) | {"id": "a"} | more
    conversation = tenant.conversation()
    with refused("22023", "plan_invalid") as refusal:
        tenant.owner.insert("projects", conversation_id=conversation, plan_json=Jsonb({"steps": [step]}))
    assert words in refusal.detail
    assert 'step "a"' in refusal.detail


def test_null_counts_as_none(tenant: Tenant, worker: Worker) -> None:
    new_project(tenant, [agent_step(tenant, "a", deliverable=None)]).do("start")
    assert claim_all(worker, tenant)["a"]["task"]["method"] == "converse"


def test_a_node_of_a_drawn_workflow_makes_one_and_shows_its_result(tenant: Tenant, worker: Worker) -> None:
    data = {
        "nodes": [
            {"id": "start", "type": "start"},
            {"id": "write", "data": node(tenant, "write", deliverable="report") | {"type": "x"}},
            {"id": "check", "type": "human_approval", "prompt": "Publish?", "shows": "write"},
        ],
        "edges": [edge("start", "write"), edge("write", "check")],
    }
    add_workflow(tenant.owner, tenant, data)
    execution = tenant.owner.call("start_workflow", name="Publish", organization_slug=tenant.slug, input={})
    lease = claim_all(worker, tenant)["write"]
    assert worker.complete(lease, response="# Tides", deliverable=REPORT) == "ok"
    question = tenant.owner.row("select * from public.input_requests")
    assert question["metadata"]["shown"] == "# Tides"
    assert steps(tenant, execution["id"]) == {"start": "completed", "write": "completed", "check": "awaiting_input"}
    assert tenant.owner.row("select type from public.deliverables")["type"] == "report"

    with refused("22023", "workflow_invalid") as refusal:
        bad = {"nodes": [node(tenant, "a", deliverable=" ")]}
        add_workflow(tenant.owner, tenant, bad, name="Other")
    assert "deliverable" in refusal.detail
