"""Planning from end to end: real workers on the offline model, a plan, its approval, its run, and what was edited."""

from __future__ import annotations

from typing import Any

import pytest

from tests.workers.conftest import Crew, Lab
from tests.workers.waiting import Row, wait_for


@pytest.fixture(autouse=True)
def crew_of_two(crew: Crew) -> None:
    crew.muster(2)


def ask(lab: Lab, agent: str, prompt: str = "Write about tides, moons and boats", **more: Any) -> Row:
    row: Row = lab.post(
        "rpc/plan_project", conversation_id=lab.add_conversation(agent), agent_slug=agent, prompt=prompt, **more
    )
    return row


def project(lab: Lab, project_id: str) -> Row:
    row = lab.sql.execute("select * from public.projects where id = %s", (project_id,)).fetchone()
    assert row is not None
    return row


def becomes(lab: Lab, project_id: str, status: str) -> Row:
    """Wait until the project has the status."""

    def arrived() -> Row | None:
        row = project(lab, project_id)
        assert row["status"] not in {"failed", "cancelled"} - {status}, row["error_details"]
        return row if row["status"] == status else None

    found = wait_for(arrived, 30, f"the project becomes {status}")
    assert found is not None
    return found


def question(lab: Lab, project_id: str) -> Row:
    query = (
        "select r.* from public.input_requests r join public.project_steps s on s.id = r.project_step_id"
        " where s.project_id = %s and r.status = 'pending'"
    )
    found = wait_for(lambda: lab.sql.execute(query, (project_id,)).fetchone(), 30, "somebody is asked")
    assert found is not None
    return found


def step_result(lab: Lab, project_id: str, step_id: str) -> Any:
    query = "select id from public.project_steps where project_id = %s and step_id = %s"
    row = lab.sql.execute(query, (project_id, step_id)).fetchone()
    assert row is not None
    return lab.post("rpc/project_step_result", project_step_id=str(row["id"]))


def test_plan_refine_approve_run_answer(lab: Lab) -> None:
    agent, writer = lab.add_agent(), lab.add_agent()
    begun = ask(lab, agent)
    assert begun["status"] == "planning"
    row = becomes(lab, begun["id"], "awaiting_approval")
    task = lab.await_task(begun["planning_task_id"])
    assert task["response"].startswith(f"# Plan: {row['name']}")
    assert task["response_metadata"]["project_id"] == begun["id"]
    assert task["response_metadata"]["output"] == row["plan_json"]
    assert ("agent", task["response"]) in lab.messages(str(row["conversation_id"]))
    assert {step["agent"] for step in row["plan_json"]["steps"] if "agent" in step} == {agent, writer}

    refined = lab.post("rpc/refine_project", project_id=begun["id"], prompt="Then translate it")
    lab.await_task(refined["planning_task_id"])
    row = becomes(lab, begun["id"], "awaiting_approval")
    steps = [step["id"] for step in row["plan_json"]["steps"]]
    assert (row["plan_version"], row["total_steps"], steps[-2:]) == (2, len(steps), ["approve", "refine-1"])

    lab.post("rpc/approve_plan", project_id=begun["id"], plan_version=2)
    asked = question(lab, begun["id"])
    assert asked["metadata"]["shown"] == step_result(lab, begun["id"], "write")
    edited = {"approved": True, "edited": "# Tides\n\nEdited."}
    lab.post("rpc/respond_to_input_request", input_request_id=str(asked["id"]), response=edited)
    row = becomes(lab, begun["id"], "completed")
    assert (row["progress"], row["completed_steps"]) == (100, len(steps))
    assert step_result(lab, begun["id"], "approve") == {"approved": True, "value": "# Tides\n\nEdited."}
    query = (
        "select t.* from public.tasks t join public.project_steps s on s.id = t.project_step_id where s.project_id = %s"
    )
    tasks = lab.sql.execute(query, (begun["id"],)).fetchall()
    assert len(tasks) == len(steps) - 1
    (last,) = [task for task in tasks if task["metadata"]["step_id"] == "refine-1"]
    assert "Edited." in last["prompt"]
    assert {(task["status"], task["attempt"]) for task in tasks} == {("completed", 1)}


def test_a_plan_that_starts_at_once_stays_within_its_limits(lab: Lab) -> None:
    agent, writer = lab.add_agent(), lab.add_agent()
    begun = ask(lab, agent, start=True, max_steps=2, agents=[writer], name="Tides")
    row = becomes(lab, begun["id"], "completed")
    (step,) = row["plan_json"]["steps"]
    assert (row["name"], step["agent"]) == ("Tides", writer)
    lab.await_task(begun["planning_task_id"])
    assert lab.usage(begun["planning_task_id"]), "what planning cost is kept"


def test_a_worker_killed_while_it_plans_leaves_one_plan(lab: Lab, crew: Crew) -> None:
    begun = ask(lab, lab.add_agent(), start=True, max_steps=1)
    task = lab.await_task(begun["planning_task_id"], "in_progress")
    crew.holder(task).kill()
    lab.sql.execute("update public.tasks set lease_expires_at = now() where id = %s", (task["id"],))
    row = becomes(lab, begun["id"], "completed")
    task = lab.await_task(str(task["id"]))
    assert (row["plan_version"], task["attempt"], row["total_steps"]) == (1, 2, 1)
