"""A visual workflow with real workers: agents, a branch, a map and a transform, and one worker killed in the middle."""

from __future__ import annotations

from typing import Any

from tests.workers.conftest import Crew, Lab
from tests.workers.waiting import Row, wait_for


def graph(agent: str) -> Row:
    """Give a graph that goes one of two ways, asks an agent for each element of the input, and counts."""
    nodes: list[Row] = [
        {"id": "start", "type": "start"},
        {"id": "post", "agent": agent, "prompt": "Write a post about {{ input.topic }}"},
        {"id": "long", "agent": agent, "prompt": "Never asked"},
        {"id": "short", "agent": agent, "prompt": "Say it again: {{ steps.post.result }}"},
        {"id": "each", "type": "map", "over": "{{ input.tones }}", "agent": agent, "prompt": "Be {{ item }}"},
        {
            "id": "count",
            "type": "transform",
            "transform": "{posts: (.steps.each.result | length), words: (.steps.post.result | length > 1)}",
        },
        {"id": "end", "type": "end"},
    ]
    ways = "start post, post long, post short, start each, long count, short count, each count, post count, count end"
    edges: list[Row] = [dict(zip(("source", "target"), way.split(), strict=True)) for way in ways.split(", ")]
    edges[1]["condition"] = ".steps.start.result.is_long"
    edges[2]["condition"] = ".steps.start.result.is_long | not"
    return {"nodes": nodes, "edges": edges}


def start(lab: Lab, data: Row, given: Row, **columns: Any) -> str:
    """Store a workflow and start it as a server does, for the laboratory's user; return the execution's id."""
    lab.post("organization_members", organization_slug=lab.organization, user_id=lab.user_id, role="member")
    agent = lab.add_agent()
    row = {"organization_slug": lab.organization, "agent_slug": agent, "name": "Publish", "framework": "langgraph"}
    (workflow,) = lab.post("workflows", **row, workflow_type="visual", workflow_data=data)
    begun = {"workflow_id": workflow["id"], "created_by": lab.user_id, "execution_data": {"input": given}}
    (made,) = lab.post("workflow_executions", **begun, **columns)
    return str(made["id"])


def read(lab: Lab, execution: str) -> Row:
    row = lab.sql.execute("select * from public.workflow_executions where id = %s", (execution,)).fetchone()
    assert row is not None
    return row


def ended(lab: Lab, execution: str) -> Row:
    row = wait_for(lambda: (r := read(lab, execution))["completed_at"] and r, 60, "the execution ends")
    return dict(row)


def test_a_visual_workflow_runs_to_its_end_though_a_worker_is_killed(crew: Crew, lab: Lab) -> None:
    crew.muster(2)
    agent = lab.add_agent()
    given = {"topic": "tide pools", "is_long": False, "tones": ["calm", "bold", "dry"]}
    execution = start(lab, graph(agent), given)

    def at_work() -> Row | None:
        return lab.sql.execute(
            "select worker_id from public.tasks"
            " where execution_id = %s and status = 'in_progress' and method = 'converse'",
            (execution,),
        ).fetchone()

    holder = wait_for(at_work, 30, "a step runs")
    assert holder is not None
    next(worker for worker in crew.workers if worker.id == holder["worker_id"]).kill()
    row = ended(lab, execution)
    assert (row["status"], row["error_message"]) == ("completed", None)
    assert row["execution_data"]["output"] == {"posts": 3, "words": True}
    assert {s["id"]: s["status"] for s in row["execution_data"]["steps"]} == {
        "start": "completed",
        "post": "completed",
        "long": "skipped",
        "short": "completed",
        "each": "completed",
        "count": "completed",
    }
    runs = lab.sql.execute(
        "select count(*) as number, sum(total_tokens) as tokens,"
        " count(*) filter (where status = 'completed') - count(distinct task_id) as again"
        " from public.runs where execution_id = %s",
        (execution,),
    ).fetchone()
    assert runs is not None
    assert (row["performance_metrics"]["attempts"], row["resource_usage"]["tokens"]) == (runs["number"], runs["tokens"])
    assert (runs["again"], runs["tokens"] > 0) == (0, True)
    prompts = lab.sql.execute(
        "select prompt from public.tasks where execution_id = %s and method = 'converse'", (execution,)
    ).fetchall()
    said = {prompt["prompt"] for prompt in prompts}
    assert {"Write a post about tide pools", "Be calm", "Be bold", "Be dry"} < said
    assert not any("Never asked" in text or "{{" in text for text in said)
    lines = [line.get("step") for line in row["execution_logs"]]
    assert lines[-1] is None
    assert set(lines) == {None, "post", "long", "short", "each", "count"}


def test_an_execution_without_end_runs_out_of_time(crew: Crew, lab: Lab) -> None:
    crew.muster(1)
    nodes = [{"id": "wait", "type": "human_input", "prompt": "Which colour?"}]
    execution = start(lab, {"nodes": nodes}, {})
    wait_for(lambda: read(lab, execution)["status"] == "running", 30, "it runs")
    lab.sql.execute("update public.workflow_executions set timeout_at = now() where id = %s", (execution,))
    row = ended(lab, execution)
    assert (row["status"], row["error_code"]) == ("timeout", "timeout")
