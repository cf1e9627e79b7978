"""Projects with real workers: agents over HTTP, and jq programs in the processes that compute them."""

from __future__ import annotations

from typing import Any

from tests.workers.conftest import Crew, Endpoint, Lab
from tests.workers.waiting import Row, wait_for

Step = dict[str, Any]


def run(lab: Lab, agent: str, steps: list[Step], ends: str = "completed") -> tuple[Row, dict[str, Row]]:
    """Start a project and wait until it is over; return its row and its steps by their ids in the plan."""
    row = {"user_id": lab.user_id, "conversation_id": lab.add_conversation(agent), "plan_json": {"steps": steps}}
    (project,) = lab.post("projects", organization_slug=lab.organization, **row)
    lab.post("rpc/start_project", project_id=project["id"])

    def over() -> Row | None:
        query = "select * from public.projects where id = %s"
        found = lab.sql.execute(query, (project["id"],)).fetchone()
        return found if found and found["status"] in {"completed", "failed", "cancelled"} else None

    ended = wait_for(over, 40, "the project ends")
    assert ended is not None
    assert ended["status"] == ends, ended["error_details"]
    query = "select *, private.step_result(id) as given from public.project_steps where project_id = %s"
    return ended, {step["step_id"]: step for step in lab.sql.execute(query, (project["id"],)).fetchall()}


def test_agents_programs_maps_and_subprojects_work_together(crew: Crew, lab: Lab, endpoint: Endpoint) -> None:
    crew.muster(2)
    agent = lab.add_api_agent(endpoint.url)
    steps: list[Step] = [
        {"id": "a", "agent": agent, "prompt": "tide pools"},
        {"id": "t", "type": "transform", "dependencies": ["a"]}
        | {"transform": '{said: (.steps.a.result | contains("To: tide pools")), parts: ["x", "y"], empty: null}'},
        {"id": "no", "agent": agent, "prompt": "never", "dependencies": ["t"], "condition": ".steps.t.result.empty"},
        {
            "id": "m",
            "type": "map",
            "agent": agent,
            "over": "{{ steps.t.result.parts }}",
            "prompt": "{{ item }}{{ index }}",
        }
        | {"dependencies": ["t"], "condition": '.steps.t.result.said and .steps.a.status == "completed"'},
        {"id": "sub", "type": "subproject", "dependencies": ["t"]}
        | {"plan": {"steps": [{"id": "in", "type": "transform", "transform": "{n: (1 + 1)}"}]}},
        {"id": "end", "type": "transform", "dependencies": ["m", "no", "sub"]}
        | {"transform": "[(.steps | map_values(.status)), (.steps.m.result | length), .steps.sub.result.in.n]"},
    ]
    _, after = run(lab, agent, steps)
    assert after["t"]["given"] == {"said": True, "parts": ["x", "y"], "empty": None}
    assert {name: step["status"] for name, step in after.items() if step["status"] != "completed"} == {"no": "skipped"}
    assert after["end"]["given"] == [{"m": "completed", "no": "skipped", "sub": "completed"}, 2, 2]
    assert sorted(body["prompt"] for body in endpoint.bodies) == ["tide pools", "x0", "y1"]
    query = "select from private.live_tasks where organization_slug = %s"
    assert lab.sql.execute(query, (lab.organization,)).fetchall() == []


def test_programs_that_do_not_work_fail_their_steps(crew: Crew, lab: Lab) -> None:
    crew.muster(1)
    agent = lab.add_agent()
    programs = {
        "syntax": ("{", "program_failed"),
        "fails": (".steps + 1", "program_failed"),
        "empty": ("empty", "program_failed"),
        "endless": ("last(range(1e12))", "program_failed"),
        "large": ('"x" * 4000001', "result_too_large"),
        "environment": ("env | keys", None),
    }
    steps: list[Step] = [
        {"id": name, "type": "transform", "transform": program, "on_failure": "continue"}
        for name, (program, _) in programs.items()
    ]
    steps.append({"id": "nothing", "agent": agent, "prompt": "never", "condition": "empty"})
    steps.append({"id": "broken", "agent": agent, "prompt": "never", "condition": "1 +", "dependencies": [*programs]})
    ended, after = run(lab, agent, steps, ends="failed")
    codes = {name: (after[name]["error_details"] or {}).get("error_code") for name in programs}
    assert codes == {name: code for name, (_, code) in programs.items()}
    assert set(after["environment"]["given"]) <= {"LC_CTYPE"}, "it sees nothing of the worker's environment"
    assert after["nothing"]["status"] == "skipped"
    assert ended["error_details"]["step_id"] == "broken"
    assert "condition does not work (syntax)" in ended["error_details"]["error_message"]
