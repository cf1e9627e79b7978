"""What frontends show of a project: everything in one request, and a drawing (Mermaid's own parser took it by hand)."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, Worker, World, refused

QUESTION = {"prompt": "Which one?", "request_type": "input", "schema": {"type": "string"}}


def project(tenant: Tenant, *steps: Row, user: Session | None = None) -> str:
    """Add a project of agent steps, and start it; returns its id."""
    user = user or tenant.owner
    plan = {"steps": [{"agent": tenant.agent, "prompt": "Do it."} | s for s in steps]}
    row = user.insert("projects", conversation_id=tenant.conversation(user), plan_json=Jsonb(plan), name="Big")
    user.call("start_project", project_id=str(row["id"]))
    return str(row["id"])


def names(overview: Row) -> list[str]:
    return [s["step_id"] for s in overview["steps"]]


def test_one_request_gives_steps_tasks_deliverables_and_questions(tenant: Tenant, worker: Worker) -> None:
    project_id = project(tenant, {"id": "a"}, {"id": "b"}, {"id": "c", "dependencies": ["a"]})
    first, second = worker.claim(tenant, max_tasks=2)
    worker.complete(first, response="x" * 3000, deliverable={"title": "Report", "type": "report", "content": "It is."})
    worker.report("pause_task", {**_key(second), "input_request": QUESTION})
    overview = tenant.owner.call("project_overview", project_id=project_id)
    assert overview["name"] == "Big"
    assert "plan_json" not in overview
    assert names(overview) == ["a", "b", "c"]
    a, b, c = overview["steps"]
    (task,) = a["tasks"]
    assert (task["status"], len(task["response"]), task["is_cut"]) == ("completed", 2000, True)
    assert [d["title"] for d in a["deliverables"]] == ["Report"]
    assert [q["prompt"] for q in b["questions"]] == ["Which one?"]
    assert b["status"] == "awaiting_input"
    assert [t["status"] for t in c["tasks"]] == ["pending"]
    assert overview["progress"] == 33


def _key(lease: Row) -> Row:
    return {"task_id": lease["task"]["id"], "attempt": lease["attempt"], "lease_token": lease["lease_token"]}


def test_a_large_project_is_read_in_pages(tenant: Tenant) -> None:
    project_id = project(tenant, *({"id": f"s{n}"} for n in range(7)))

    def page(**more: Any) -> list[str]:
        return names(tenant.owner.call("project_overview", project_id=project_id, **more))

    assert page(page_size=3) == ["s0", "s1", "s2"]
    assert page(page_size=3, after_index=5) == ["s6"]
    assert page(page_size=-1) == []
    assert len(page(page_size=1_000_000)) == 7


def test_a_colleague_sees_the_steps_and_not_what_they_said(tenant: Tenant, worker: Worker) -> None:
    project_id = project(tenant, {"id": "a"})
    worker.complete(worker.claim_one(tenant), response="secret")
    (step,) = tenant.join("viewer").call("project_overview", project_id=project_id)["steps"]
    assert (step["status"], step["tasks"], step["deliverables"]) == ("completed", [], [])


@pytest.mark.parametrize("function", ["project_overview", "project_diagram"])
def test_strangers_and_unknown_ids_get_the_same_answer(tenant: Tenant, world: World, function: str) -> None:
    stranger = world.tenant().owner
    for project_id in (project(tenant, {"id": "a"}), str(uuid.uuid4())):
        with refused("PT404", "project_not_found") as refusal:
            stranger.call(function, project_id=project_id)
        assert refusal.detail == f"You have no project {project_id}."


def test_a_drawing_shows_steps_arrows_and_where_the_project_is(tenant: Tenant, worker: Worker) -> None:
    project_id = project(tenant, {"id": "a", "name": "First"}, {"id": "b", "name": "", "dependencies": ["a"]})
    worker.complete(worker.claim_one(tenant))
    lines = tenant.owner.call("project_diagram", project_id=project_id).split("\n")
    assert lines[:4] == [
        "flowchart TD",
        f'  s1["First<br/>{tenant.agent}"]:::completed',
        f'  s2["b<br/>{tenant.agent}"]:::ready',
        "  s1 --> s2",
    ]


def draw(world: World, *steps: Row) -> list[str]:
    text: str = world.service.value("select private.diagram(%s)", Jsonb(list(steps)))
    return text.split("\n")


def test_every_type_has_its_shape(world: World) -> None:
    types = ["agent", "human_approval", "human_input", "subproject", "transform", "map"]
    steps = [
        {"id": t, "type": t, "dependencies": types[:n][-1:], "condition": "." if n == 5 else None}
        for n, t in enumerate(types)
    ]
    lines = draw(world, *steps)
    assert lines[1:12] == [
        '  s1["agent"]',
        '  s2{{"human_approval"}}',
        '  s3[/"human_input"/]',
        '  s4[["subproject"]]',
        '  s5("transform")',
        '  s6[\\"map"\\]',
        "  s1 --> s2",
        "  s2 --> s3",
        "  s3 --> s4",
        "  s4 --> s5",
        "  s5 -.-> s6",
    ]


@pytest.mark.parametrize(
    "name",
    [
        '"]; click s1 "javascript:alert(1)"',
        "<script>alert(1)</script>",
        "a\nend\nsubgraph x",
        "%%{init: {}}%%",
        "#quot;",
    ],
)
def test_a_hostile_name_stays_a_name(world: World, name: str) -> None:
    (line, *rest) = draw(world, {"id": "a", "name": name})[1:]
    assert re.fullmatch(r'  s1\["(?:[\w .,:/+-]|#\d+;|_)*"\]', line)
    assert all(r.startswith("  classDef ") for r in rest)


def test_a_drawing_has_at_most_what_mermaid_draws(world: World) -> None:
    steps = [{"id": f"s{n}", "dependencies": [f"s{m}" for m in range(max(0, n - 5), n)]} for n in range(400)]
    lines = draw(world, *steps)
    assert sum("-->" in line for line in lines) == 450
    assert '  more["and 100 more steps"]' in lines
