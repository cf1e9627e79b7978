"""People in projects: what they are shown, what they edit, what happens when they do not answer, and who decided."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Tenant, Worker, in_parallel, refused
from tests.database.pauses import paused, reap
from tests.database.project_kit import Project, agent_step, claim_all, finish, new_project, play, started

YES = {"approved": True}


def approval(*dependencies: str, **more: Any) -> Row:
    return {"id": "ok", "type": "human_approval", "prompt": "Send it?", "dependencies": list(dependencies)} | more


def draft_and_send(tenant: Tenant, user: Any = None, **more: Any) -> Project:
    """Start a project that drafts, has it approved, and sends what was approved."""
    send = agent_step(tenant, "send", "ok", prompt="{{ steps.ok.result.value }}", params={"v": "{{ steps.ok.result }}"})
    return started(tenant, [agent_step(tenant, "draft"), approval("draft", shows="draft", **more), send], user)


def log(tenant: Tenant, question: Row) -> list[Row]:
    query = "select * from public.audit_logs where table_name = 'input_requests' and row_key = %s order by id"
    return tenant.owner.rows(query, str(question["id"]))


def let_expire(tenant: Tenant, worker: Worker, question: Row) -> None:
    tenant.world.admin.execute(
        "update public.input_requests set expires_at = now() - interval '1 second' where id = %s", question["id"]
    )
    reap(worker)


# What is shown, and edited


def test_what_is_shown_goes_on_when_it_is_approved(tenant: Tenant, worker: Worker) -> None:
    project = draft_and_send(tenant)
    play(worker, project, {"draft": "Dear Ann"})
    question = project.question("ok")
    assert question["metadata"] == {"project_id": project.id, "step_id": "ok", "shown": "Dear Ann"}
    project.answer("ok", YES | {"comment": "Fine."})
    result = {"approved": True, "comment": "Fine.", "value": "Dear Ann"}
    assert project.result("ok") == result
    assert project.steps()["ok"]["result"]["bytes"] == len(json.dumps(result))
    (task,) = project.tasks("send")
    assert (task["prompt"], task["params"]) == ("Dear Ann", {"v": result})


@pytest.mark.parametrize("edited", ["Dear Bob", {"to": ["Bob"]}, None, 0])
def test_what_is_edited_goes_on_in_its_place(tenant: Tenant, worker: Worker, edited: Any) -> None:
    project = draft_and_send(tenant)
    play(worker, project, {"draft": "Dear Ann"})
    answered = project.answer("ok", YES | {"edited": edited})
    assert answered["response"] == YES | {"edited": edited}, "who edited what is kept"
    assert project.result("ok") == YES | {"value": edited}
    assert project.result("draft") == "Dear Ann"
    if edited is not None:
        (task,) = project.tasks("send")
        assert task["prompt"] == (edited if isinstance(edited, str) else json.dumps(edited, separators=(", ", ": ")))


def test_conditions_and_programs_see_what_was_edited(tenant: Tenant, worker: Worker) -> None:
    steps = [
        agent_step(tenant, "draft"),
        approval("draft", shows="{{ steps.draft.result.text }}"),
        {"id": "t", "type": "transform", "transform": ".steps.ok.result.value", "dependencies": ["ok"]},
    ]
    project = started(tenant, steps)
    play(worker, project, {"draft": {"text": "a"}})
    assert project.question("ok")["metadata"]["shown"] == "a"
    project.answer("ok", YES | {"edited": "b"})
    (lease,) = claim_all(worker, tenant).values()
    arguments = {"task_id": lease["task"]["id"], "lease_token": lease["lease_token"]}
    told = tenant.world.service.call("read_step_input", **arguments)
    assert told["steps"]["ok"] == {"status": "completed", "result": YES | {"value": "b"}}


def test_an_approval_that_shows_nothing_gives_the_answer(tenant: Tenant) -> None:
    project = started(tenant, [approval()])
    project.answer("ok", YES | {"why": "x"})
    assert project.result("ok") == YES | {"why": "x"}
    project = started(tenant, [approval()])
    project.answer("ok", YES | {"edited": {"n": 1}})
    assert project.result("ok") == YES | {"value": {"n": 1}}


def test_an_edit_must_fit_the_schema_of_the_step(tenant: Tenant, worker: Worker) -> None:
    schema = {"properties": {"edited": {"type": "string", "maxLength": 5}}, "additionalProperties": False}
    project = draft_and_send(tenant, schema=schema)
    play(worker, project)
    for bad in (
        YES | {"edited": "too long"},
        YES | {"edited": 1},
        YES | {"other": 1},
        {"edited": "x"},
        {"approved": "yes"},
    ):
        with refused("22023", "response_does_not_fit"):
            project.answer("ok", bad)
    assert project.states()["ok"] == "awaiting_input"
    project.answer("ok", YES | {"edited": "short"})
    assert project.result("ok")["value"] == "short"
    fixed = draft_and_send(tenant, schema={"additionalProperties": False})
    play(worker, fixed)
    with refused("22023", "response_does_not_fit"):
        fixed.answer("ok", YES | {"edited": "not here"})


def test_an_edit_of_what_is_not_approved_is_nothing(tenant: Tenant, worker: Worker) -> None:
    project = draft_and_send(tenant)
    play(worker, project)
    project.answer("ok", {"approved": False, "edited": "x"})
    assert (project.status, project.result("ok")) == ("failed", None)
    assert project.steps()["ok"]["error_details"]["error_code"] == "not_approved"
    assert log(tenant, project.question("ok"))[0]["changes"]["decision"] == [None, "not_approved"]


def test_what_is_large_is_referred_to_and_goes_on_whole(tenant: Tenant, worker: Worker) -> None:
    large = "x" * 100_001
    project = draft_and_send(tenant)
    play(worker, project, {"draft": large})
    shown = project.question("ok")["metadata"]["shown"]["$ref"]
    assert (shown["step_id"], shown["bytes"], shown["task_id"]) == (
        "draft",
        100_003,
        str(project.tasks("draft")[0]["id"]),
    )
    project.answer("ok", YES)
    assert project.result("ok") == YES | {"value": large}
    assert project.steps()["ok"]["result"]["bytes"] > 100_000


def test_what_is_too_large_to_show_fails_the_step(tenant: Tenant, worker: Worker) -> None:
    project = draft_and_send(tenant)
    play(worker, project, {"draft": "x" * 4_000_001})
    details = project.steps()["ok"]["error_details"]
    assert (project.status, details["error_code"]) == ("failed", "result_too_large")
    assert tenant.world.admin.rows("select from public.input_requests where organization_slug = %s", tenant.slug) == []


def test_what_was_skipped_is_shown_as_null(tenant: Tenant) -> None:
    project = draft_and_send(tenant)
    project.do_step("skip", "draft")
    assert project.question("ok")["metadata"]["shown"] is None
    project.answer("ok", YES)
    assert project.result("ok") == YES | {"value": None}


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ({"shows": "nowhere"}, "not in the plan"),
        ({"shows": "send"}, "does not depend on"),
        ({"shows": "a {{ steps.draft.result }}"}, "shows"),
        ({"shows": "{{ steps.draft.response }}"}, "steps.ID.result"),
        ({"shows": 1}, "shows"),
        ({"shows": "x" * 1001}, "shows"),
        ({"type": "agent", "shows": "draft"}, "shows"),
    ],
)
def test_plans_that_show_what_is_not_there_are_refused(tenant: Tenant, step: Row, told: str) -> None:
    given = approval("draft") | step | ({"agent": tenant.agent} if step.get("type") == "agent" else {})
    with refused("22023", "plan_invalid") as refusal:
        new_project(tenant, [agent_step(tenant, "draft"), given, agent_step(tenant, "send", "ok")])
    assert told in refusal.detail


def test_questions_for_input_show_as_well(tenant: Tenant, worker: Worker) -> None:
    ask = {"id": "ok", "type": "human_input", "prompt": "Which?", "shows": "draft", "dependencies": ["draft"]}
    project = started(tenant, [agent_step(tenant, "draft"), ask])
    play(worker, project, {"draft": ["a", "b"]})
    assert project.question("ok")["metadata"]["shown"] == ["a", "b"]
    project.answer("ok", {"edited": "is a word here"})
    assert project.result("ok") == {"edited": "is a word here"}


# Once


def test_two_answers_at_once(tenant: Tenant, worker: Worker) -> None:
    project = draft_and_send(tenant, required_role="developer")
    play(worker, project)
    question = str(project.question("ok")["id"])
    people = [tenant.join("developer"), tenant.join("admin"), tenant.owner]

    def answer(person: Any) -> Row:
        response = Jsonb(YES | {"edited": person.id})
        row: Row = person.call("respond_to_input_request", input_request_id=question, response=response)
        return row

    answers = in_parallel(people, answer)
    (won,) = [a for a in answers if not isinstance(a, psycopg.Error)]
    assert [str(a).splitlines()[0] for a in answers if isinstance(a, psycopg.Error)] == ["input_request_closed"] * 2
    assert project.result("ok")["value"] == won["responded_by"]
    (task,) = project.tasks("send")
    assert task["prompt"] == won["responded_by"]
    (entry,) = log(tenant, project.question("ok"))
    assert str(entry["actor_user_id"]) == won["responded_by"]


def test_an_answer_and_the_expiry_at_once(tenant: Tenant, worker: Worker) -> None:
    project = draft_and_send(tenant, expires_in_seconds=60, on_expiry="skip")
    play(worker, project)
    question = project.question("ok")
    let_expire(tenant, worker, question)
    with refused("PT409", "input_request_closed"):
        project.answer("ok", YES)
    assert project.states()["ok"] == "skipped"
    assert len(log(tenant, question)) == 1


def test_nothing_done_is_done_again_after_a_worker_was_killed(tenant: Tenant, worker: Worker) -> None:
    project = draft_and_send(tenant)
    play(worker, project, {"draft": "Dear Ann"})
    project.answer("ok", YES | {"edited": "Dear Bob"})
    killed = worker.claim_one(tenant)
    admin = tenant.world.admin
    admin.execute(
        "update public.tasks set lease_expires_at = now() - interval '1 minute' where id = %s", killed["task"]["id"]
    )
    reap(worker)
    admin.execute("update public.tasks set scheduled_at = now() where id = %s", killed["task"]["id"])
    assert project.answer("ok", YES | {"edited": "Dear Bob"})["status"] == "answered", "the same answer again"
    lease = worker.claim_one(tenant)
    assert (lease["task"]["id"], lease["attempt"], lease["task"]["prompt"]) == (killed["task"]["id"], 2, "Dear Bob")
    assert worker.complete(killed) == "lost"
    finish(worker, lease)
    assert project.status == "completed"
    assert {name: len(project.tasks(name)) for name in ("draft", "ok", "send")} == {"draft": 1, "ok": 0, "send": 1}
    query = "select count(*) from public.input_requests where project_step_id = %s"
    assert admin.value(query, project.steps()["ok"]["id"]) == 1


def test_an_answer_while_the_project_is_paused_waits_with_it(tenant: Tenant, worker: Worker) -> None:
    project = draft_and_send(tenant)
    play(worker, project)
    project.do("pause")
    project.answer("ok", YES)
    assert (project.states()["ok"], worker.claim(tenant)) == ("completed", [])
    project.do("resume")
    assert play(worker, project) == [["send"]]


# Who may, and who did


def test_roles_are_asked_of_everybody(tenant: Tenant, worker: Worker) -> None:
    user = tenant.join("member")
    project = draft_and_send(tenant, user, required_role="developer")
    play(worker, project)
    for other in (user, tenant.join("viewer"), tenant.join("member"), tenant.world.tenant().owner):
        with refused("PT404", "input_request_not_found"):
            project.answer("ok", YES, other)
    tenant.world.admin.execute(
        "update public.organization_members set role = 'viewer' where user_id = %s and organization_slug = %s",
        user.id,
        tenant.slug,
    )
    project.answer("ok", YES, tenant.join("developer"))
    mine = draft_and_send(tenant, tenant.join("member"), required_role="member")
    play(worker, mine)
    tenant.world.admin.execute(
        "update public.organization_members set role = 'viewer' where user_id = %s and organization_slug = %s",
        mine.session.id,
        tenant.slug,
    )
    with refused("PT404", "input_request_not_found"):
        mine.answer("ok", YES)


@pytest.mark.parametrize(
    ("answer", "decision"),
    [
        (YES, "approved"),
        (YES | {"edited": "secret text"}, "edited"),
        ({"approved": False, "why": "secret text"}, "not_approved"),
    ],
)
def test_who_decided_is_logged_without_the_content(tenant: Tenant, worker: Worker, answer: Row, decision: str) -> None:
    project = draft_and_send(tenant, required_role="admin")
    play(worker, project)
    admin = tenant.join("admin")
    question = project.answer("ok", answer, admin)
    (entry,) = log(tenant, question)
    assert (str(entry["actor_user_id"]), entry["actor_role"], entry["action"]) == (admin.id, "authenticated", "update")
    assert entry["changes"] == {
        "status": ["pending", "answered"],
        "decision": [None, decision],
        "project_id": [project.id, project.id],
    }
    assert tenant.join("developer").rows("select from public.audit_logs where id = %s", entry["id"]) == []


@pytest.mark.parametrize(
    ("policy", "state", "result"),
    [
        ("fail", "failed", None),
        ("skip", "skipped", None),
        ("approve", "completed", YES | {"expired": True, "value": "draft"}),
    ],
)
def test_what_happened_when_nobody_decided_is_logged(
    tenant: Tenant, worker: Worker, policy: str, state: str, result: Any
) -> None:
    project = draft_and_send(tenant, expires_in_seconds=60, on_expiry=policy)
    play(worker, project)
    question = project.question("ok")
    let_expire(tenant, worker, question)
    assert (project.states()["ok"], project.result("ok")) == (state, result)
    (entry,) = log(tenant, question)
    assert (entry["actor_user_id"], entry["actor_role"]) == (None, "service_role")
    assert entry["changes"] == {
        "status": ["pending", "expired"],
        "decision": [None, "expired"],
        "on_expiry": [policy, policy],
        "project_id": [project.id, project.id],
    }


def test_an_approval_that_an_agent_asked_for_is_edited_as_well(tenant: Tenant, worker: Worker) -> None:
    schema = {
        "type": "object",
        "required": ["approved"],
        "properties": {"approved": {"type": "boolean"}, "edited": {"type": "string"}},
        "additionalProperties": False,
    }
    task_id, question = paused(tenant, worker, prompt="Post this?", request_type="approval", schema=schema)

    def answer(response: Any) -> Row:
        row: Row = tenant.owner.call("respond_to_input_request", input_request_id=question, response=Jsonb(response))
        return row

    with refused("22023", "response_does_not_fit"):
        answer(YES | {"edited": 1})
    edited = YES | {"edited": "This instead"}
    answer(edited)
    with refused("PT409", "input_request_closed"):
        answer(YES)
    lease = worker.claim_one(tenant)
    assert (lease["task"]["id"], lease["attempt"]) == (task_id, 1)
    assert [row["response"] for row in lease["input"]] == [edited]
    (entry,) = log(tenant, {"id": question})
    assert entry["changes"] == {
        "status": ["pending", "answered"],
        "decision": [None, "edited"],
        "task_id": [task_id, task_id],
    }
