"""workflow_diagram: stored workflows as Mermaid text, drawn ones and those of frameworks, whatever stands in them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.database.kit import Row, Tenant, World, refused
from tests.database.workflow_kit import add_code, add_workflow


def draw(tenant: Tenant, workflow: Row) -> list[str]:
    text: str = tenant.join("viewer").call("workflow_diagram", workflow_id=str(workflow["id"]))
    return text.split("\n")


def test_a_drawn_workflow_has_its_start_its_end_and_its_conditions(tenant: Tenant) -> None:
    data = {
        "nodes": [
            {"id": "start", "type": "start"},
            {"id": "draft", "agent": tenant.agent, "prompt": "Write.", "data": {"label": "Draft"}},
            {"id": "check", "type": "human_approval", "prompt": "Good?"},
            {"id": "end", "type": "end"},
        ],
        "edges": [
            {"source": "start", "target": "draft"},
            {"source": "draft", "target": "check", "condition": ".steps.draft.result | length > 10"},
            {"source": "draft", "target": "end"},
            {"source": "check", "target": "end"},
        ],
    }
    assert draw(tenant, add_workflow(tenant.owner, tenant, data)) == [
        "flowchart TD",
        '  s1(["start"])',
        f'  s2["Draft<br/>{tenant.agent}"]',
        '  s3{{"check"}}',
        '  s4(["end"])',
        "  s1 --> s2",
        "  s2 -.-> s3",
        "  s2 --> s4",
        "  s3 --> s4",
    ]


def test_a_langgraph_program_is_drawn_with_ends_that_are_no_nodes(tenant: Tenant) -> None:
    data = {
        "nodes": ["plan", {"id": "act", "name": "Act"}],
        "edges": [
            ["__start__", "plan"],
            {"from": "plan", "to": "act"},
            {"source": "act", "target": "plan", "conditional": True},
            {"source": "act", "target": "__end__"},
        ],
        "startNode": "plan",
    }
    assert draw(tenant, add_code(tenant.owner, tenant, workflow_data=data, framework="langgraph")) == [
        "flowchart TD",
        '  s1(["__start__"])',
        '  s2["plan"]',
        '  s3["Act"]',
        '  s4(["__end__"])',
        "  s1 --> s2",
        "  s2 --> s3",
        "  s3 -.-> s2",
        "  s3 --> s4",
    ]


def test_an_n8n_program_is_drawn_by_its_connections(tenant: Tenant) -> None:
    data = {
        "nodes": [
            {"name": "Hook", "type": "n8n-nodes-base.webhook"},
            {"name": "Large?", "type": "n8n-nodes-base.if"},
            {"name": "Mail", "type": "n8n-nodes-base.emailSend"},
            {"name": "Note", "type": "n8n-nodes-base.stickyNote"},
        ],
        "connections": {
            "Hook": {"main": [[{"node": "Large?", "type": "main", "index": 0}]]},
            "Large?": {"main": [[{"node": "Mail"}], None]},
        },
    }
    assert draw(tenant, add_code(tenant.owner, tenant, workflow_data=data, framework="n8n")) == [
        "flowchart TD",
        '  s1(["Hook<br/>webhook"])',
        '  s2["Large#63;<br/>if"]',
        '  s3["Mail<br/>emailSend"]',
        "  s1 --> s2",
        "  s2 -.-> s3",
    ]


def test_what_runs_elsewhere_is_one_box(tenant: Tenant) -> None:
    data = {"endpoint": {"url": "https://graphs.example.com", "assistant_id": "researcher"}}
    workflow = add_code(tenant.owner, tenant, workflow_data=data, framework="langgraph")
    assert draw(tenant, workflow) == ["flowchart TD", f'  s1[["{workflow["name"]}<br/>langgraph researcher"]]']


@pytest.mark.parametrize(
    ("framework", "data"),
    [
        ("langgraph", {"nodes": ["a", 7, None, {}, {"id": {}}], "edges": [7, None, [], [1], {"source": "a"}, "a"]}),
        ("langgraph", {"nodes": ["a", "a"], "edges": [["a", "b", "c"], ["a", "a"], {"target": "a"}, {"source": []}]}),
        ("n8n", {"nodes": [{"name": "a", "type": "trigger"}, 7], "connections": {"a": 7, "b": {"main": 7}}}),
        ("n8n", {"nodes": [{"id": "a", "type": "trigger"}], "connections": {"a": {"x": [7, [7, {"node": 7}]]}}}),
    ],
)
def test_a_program_that_is_odd_is_drawn_as_far_as_it_can_be_read(tenant: Tenant, framework: str, data: Any) -> None:
    data |= {"startNode": "a"}
    workflow = add_code(tenant.owner, tenant, workflow_data=data, framework=framework)
    lines = draw(tenant, workflow)
    assert lines[0] == "flowchart TD"
    assert sum("a" in line for line in lines[1:]) >= 1


def test_strangers_and_unknown_ids_get_the_same_answer(tenant: Tenant, world: World) -> None:
    data = {"nodes": [{"id": "a", "agent": tenant.agent, "prompt": "x"}]}
    workflow = add_workflow(tenant.owner, tenant, data)
    stranger = world.tenant().owner
    for workflow_id in (str(workflow["id"]), str(uuid.uuid4())):
        with refused("PT404", "workflow_not_found") as refusal:
            stranger.call("workflow_diagram", workflow_id=workflow_id)
        assert refusal.detail == f"You have no workflow {workflow_id}."
