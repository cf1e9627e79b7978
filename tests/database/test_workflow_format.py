"""What workflow_data may say: visual workflows as the plans they become, code workflows by their frameworks' rules."""

from __future__ import annotations

import time
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Tenant, World, refused
from tests.database.workflow_kit import add_code, add_workflow, diamond, edge, node


@pytest.fixture(scope="module")
def place(scene: World) -> Tenant:
    return scene.tenant()


def plan(place: Tenant, data: Row) -> list[Row]:
    steps: list[Row] = place.world.service.value("select private.workflow_plan(%s)", Jsonb(data))["steps"]
    return steps


def graph(place: Tenant, *edges: str, **nodes: Row) -> Row:
    """Give a graph of agents from "a b" or "a b condition", with these nodes in place of agents."""
    pairs = [edge(*text.split(" ", 2)) for text in edges]
    names = list(dict.fromkeys(name for pair in pairs for name in (pair["source"], pair["target"])))
    return {"nodes": [nodes.get(name) or node(place, name) for name in names], "edges": pairs}


def test_nodes_become_steps_and_edges_their_dependencies(place: Tenant) -> None:
    steps = plan(place, diamond(place))
    assert {step["id"]: step.get("dependencies", []) for step in steps} == {
        "start": [],
        "a": ["start"],
        "b": ["a"],
        "c": ["a"],
        "d": ["b", "c"],
    }
    assert [step["type"] for step in steps] == ["transform", *["agent"] * 4]
    assert all("condition" not in step for step in steps)


def test_what_nothing_leads_to_follows_the_start(place: Tenant) -> None:
    nodes = [node(place, "a"), {"id": "begin", "type": "start"}, node(place, "b")]
    data = {"nodes": nodes, "edges": [edge("begin", "b", ".steps.begin.result.go")]}
    steps = {s["id"]: (s.get("dependencies"), s.get("condition")) for s in plan(place, data)}
    assert steps == {
        "a": (["begin"], None),
        "begin": (None, None),
        "b": (["begin"], "(.steps.begin.result.go\n)"),
    }


def test_templates_of_the_input_name_the_start(place: Tenant) -> None:
    texts = {"prompt": "About {{ input.topic }}, {{input}}.", "params": {"all": ["{{ input.a-b.c }}"], "n": 1}}
    nodes = [{"id": "begin", "type": "start"}, node(place, "a", **texts)]
    _, step = plan(place, {"nodes": nodes})
    assert step["prompt"] == "About {{ steps.begin.result.topic }}, {{ steps.begin.result }}."
    assert step["params"] == {"all": ["{{ steps.begin.result.a-b.c }}"], "n": 1}


def test_settings_stand_in_the_node_or_in_its_data(place: Tenant) -> None:
    kept = {"prompt": "Say it.", "params": {"tone": None}, "on_failure": "continue", "max_attempts": 2}
    kept |= {"timeout_seconds": 60}
    editor = {"id": "a", "type": "agent", "position": {"x": 1, "y": 2}, "data": {"label": "Say", "agent": place.agent}}
    (step,) = plan(place, {"nodes": [{**editor, **kept}]})
    assert step == {"id": "a", "type": "agent", "name": "Say", "agent": place.agent, **kept}


def test_a_node_runs_when_one_of_its_edges_is_open(place: Tenant) -> None:
    good = '.steps["a"].result.good'
    data = graph(place, f"a b {good}", f"a c {good} | not", "b d", "c d", "a e", "d e")
    steps = {step["id"]: step.get("condition") for step in plan(place, data)}
    assert steps == {
        "a": None,
        "b": f"({good}\n)",
        "c": f"({good} | not\n)",
        "d": 'any(.steps[]; .status != "skipped")',
        "e": None,
    }


def test_a_condition_of_a_node_that_may_be_left_out_asks_for_both(place: Tenant) -> None:
    steps = {s["id"]: s.get("condition") for s in plan(place, graph(place, "a b true", "b c .steps.b.result == 1"))}
    assert steps["c"] == '.steps["b"].status != "skipped" and (.steps.b.result == 1\n)'


def test_a_subproject_is_a_workflow_within_a_node(place: Tenant) -> None:
    inner = {"id": "part", "type": "subproject", "name": "Part", **graph(place, "x y")}
    steps = {step["id"]: step for step in plan(place, graph(place, "a part", part=inner))}
    assert steps["part"]["dependencies"] == ["a"]
    assert [(s["id"], s.get("dependencies")) for s in steps["part"]["plan"]["steps"]] == [("x", None), ("y", ["x"])]


BAD: dict[str, tuple[Any, str]] = {
    "no nodes": ({"edges": []}, "nodes is no list"),
    "empty": ({"nodes": []}, "nodes is no list"),
    "edges no list": ({"nodes": [{"id": "a"}], "edges": {}}, "edges is no list"),
    "node no object": ({"nodes": [{"id": "a"}, 7]}, "node 2 is no object"),
    "no id": ({"nodes": [{"type": "agent"}]}, "node 1 has no id"),
    "id not a name": ({"nodes": [{"id": "a b"}]}, "node 1 has no id"),
    "id a number": ({"nodes": [{"id": 1}]}, "node 1 has no id"),
    "doubled": ({"nodes": [{"id": "a"}, {"id": "a"}]}, '"a" is there twice'),
    "type": ({"nodes": [{"id": "a", "type": "magic"}]}, 'node "a" has the unknown type "magic"'),
    "two starts": ({"nodes": [{"id": "s", "type": "start"}, {"id": "t", "type": "start"}]}, 'node "'),
    "only order": ({"nodes": [{"id": "s", "type": "start"}]}, "no node that does anything"),
    "to nowhere": ({"nodes": [{"id": "a"}], "edges": [edge("a", "z")]}, 'edge 1 from node "a" goes to "z"'),
    "from nowhere": ({"nodes": [{"id": "a"}], "edges": [edge("z", "a")]}, 'edge 1 comes from "z"'),
    "edge no object": ({"nodes": [{"id": "a"}], "edges": [1]}, "edge 1 is no object"),
    "itself": ({"nodes": [{"id": "a"}], "edges": [edge("a", "a")]}, 'node "a" has an edge to itself'),
    "twice": (
        {"nodes": [{"id": "a"}, {"id": "b"}], "edges": [edge("a", "b"), edge("a", "b", "true")]},
        'two edges from node "a" to node "b"',
    ),
    "circle": (
        {
            "nodes": [{"id": i, "type": "transform", "transform": "."} for i in "abc"],
            "edges": [edge("a", "b"), edge("b", "c"), edge("c", "b")],
        },
        "b, c depend on each other in a circle",
    ),
    "into the start": (
        {"nodes": [{"id": "s", "type": "start"}, {"id": "a"}], "edges": [edge("a", "s")]},
        'an edge leads to node "s"',
    ),
    "out of the end": (
        {"nodes": [{"id": "e", "type": "end"}, {"id": "a"}], "edges": [edge("e", "a")]},
        'an edge leaves node "e"',
    ),
    "condition of an end": (
        {"nodes": [{"id": "e", "type": "end"}, {"id": "a"}], "edges": [edge("a", "e", "true")]},
        'from node "a" to the end "e" has a condition',
    ),
    "condition no text": (
        {"nodes": [{"id": "a"}, {"id": "b"}], "edges": [{"source": "a", "target": "b", "condition": True}]},
        'the condition of the edge from node "a" to node "b" is no text',
    ),
    "empty subproject": ({"nodes": [{"id": "p", "type": "subproject"}]}, 'node "p" has inside it: nodes is no list'),
    "inner circle": (
        {"nodes": [{"id": "p", "type": "subproject", "nodes": [{"id": "x"}], "edges": [edge("x", "x")]}]},
        'node "p" has inside it: node "x" has an edge to itself',
    ),
    "agent unknown": (
        {"nodes": [{"id": "a", "agent": "no-such-agent", "prompt": "p"}]},
        'node "a" names the agent "no-such-agent"',
    ),
    "no agent": ({"nodes": [{"id": "a", "prompt": "p"}]}, '"a" names no agent'),
    "input without start": (
        {"nodes": [{"id": "a", "prompt": "{{ input.x }}"}]},
        'node "a" uses {{ input }}, and there is no node of the type start',
    ),
    "template": (
        {"nodes": [{"id": "t", "type": "transform", "transform": ".", "prompt": "{{ steps.z.result }}"}]},
        "a step that is not in the plan",
    ),
    "too many": ({"nodes": [{"id": f"n{i}"} for i in range(10001)]}, "nodes is no list of 1 to 10000"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_visual_workflow_that_could_not_run_is_refused_and_the_node_is_named(place: Tenant, name: str) -> None:
    data, detail = BAD[name]
    with refused("22023", "workflow_invalid") as refusal:
        add_workflow(place.owner, place, data, name="Bad")
    assert detail in refusal.detail
    assert place.owner.rows("select from public.workflows where name = 'Bad'") == []


def test_agents_of_others_are_unknown(place: Tenant) -> None:
    other = place.world.tenant()
    with refused("22023", "workflow_invalid") as refusal:
        add_workflow(place.owner, place, {"nodes": [node(other, "a")]})
    assert f'names the agent "{other.agent}"' in refusal.detail


def test_an_agent_that_is_not_active_is_refused(place: Tenant) -> None:
    draft = place.add_agent(status="draft")
    with refused("PT409", "agent_inactive"):
        add_workflow(place.owner, place, {"nodes": [node(place, "a", agent=draft)]})


def test_a_workflow_nested_too_deep_is_refused(place: Tenant) -> None:
    def nest(depth: int) -> Row:
        data: Row = {"nodes": [node(place, "a")]}
        for level in range(depth):
            data = {"nodes": [{"id": f"level{level}", "type": "subproject", **data}]}
        return data

    add_workflow(place.owner, place, nest(5), name="Deep")
    with refused("22023", "workflow_invalid") as refusal:
        add_workflow(place.owner, place, nest(6), name="Deeper")
    assert "nested more than 5 deep" in refusal.detail


def test_ten_thousand_nodes_are_checked_in_seconds(place: Tenant) -> None:
    nodes = [node(place, f"n{i}", prompt="p") for i in range(10000)]
    edges = [edge(f"n{i}", f"n{j}", "true" if j % 7 == 0 else None) for i in range(9999) for j in (i + 1,)]
    began = time.monotonic()
    add_workflow(place.owner, place, {"nodes": nodes, "edges": edges}, name="Large")
    assert time.monotonic() - began < 20


# Code


GOOD: dict[str, tuple[str, Row]] = {
    "n8n": ("n8n", {"nodes": [{"name": "In", "type": "n8n-nodes-base.webhook"}], "connections": {}}),
    "n8n trigger": ("n8n", {"nodes": [{"name": "In", "type": "n8n-nodes-base.manualTrigger"}], "connections": {}}),
    "n8n remote": (
        "n8n",
        {"endpoint": {"url": "https://n8n.example.com/webhook/x", "headers": {"X-Key": "${N8N_KEY}"}}},
    ),
    "langgraph": ("langgraph", {"nodes": [{"id": "plan"}], "edges": [], "startNode": "plan"}),
    "langgraph names": ("langgraph", {"nodes": ["plan"], "edges": [], "startNode": "plan"}),
    "langgraph remote": ("langgraph", {"endpoint": {"url": "${LANGGRAPH_URL}", "assistant_id": "agent"}}),
    "agno": ("agno", {"agent": {"name": "Ana", "model": "gpt-4o"}}),
    "agno apart": ("agno", {"agent": "ana", "model": {"id": "gpt-4o"}}),
    "agno remote": ("agno", {"endpoint": {"url": "http://127.0.0.1:7777", "team_id": "research"}}),
    "crewai": ("crewai", {"agents": [{"role": "r"}], "tasks": [{"description": "d"}]}),
    "where the agent is": ("crewai", {}),
    "crewai remote": ("crewai", {"endpoint": {"url": "https://crew.example.com"}}),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_code_workflow_is_what_its_framework_runs_or_where_it_is_deployed(place: Tenant, name: str) -> None:
    framework, data = GOOD[name]
    assert add_code(place.owner, place, name=name, framework=framework, workflow_data=data)["workflow_data"] == data


BAD_CODE: dict[str, tuple[str, Row, str]] = {
    "url": ("crewai", {"endpoint": {"url": "ftp://crew"}}, "endpoint.url is no http(s) address"),
    "url no text": ("crewai", {"endpoint": {"url": 1}}, "endpoint.url is no http(s) address"),
    "assistant": ("langgraph", {"endpoint": {"url": "https://a.example.com"}}, "assistant_id"),
    "deployment": ("agno", {"endpoint": {"url": "https://a.example.com"}}, "agent_id, team_id, workflow_id"),
    "n8n nodes": ("n8n", {"connections": {}}, "nodes"),
    "n8n connections": ("n8n", {"nodes": [{"type": "webhook"}]}, "connections"),
    "n8n trigger": ("n8n", {"nodes": [{"type": "set"}], "connections": {}}, "trigger"),
    "langgraph nodes": ("langgraph", {"edges": [], "startNode": "a"}, "nodes"),
    "langgraph edges": ("langgraph", {"nodes": ["a"], "startNode": "a"}, "edges"),
    "langgraph start": ("langgraph", {"nodes": ["a"], "edges": []}, "startNode is missing"),
    "langgraph start elsewhere": ("langgraph", {"nodes": ["a"], "edges": [], "startNode": "z"}, '"z" is no node'),
    "agno agent": ("agno", {"model": "m"}, "agent is missing"),
    "agno model": ("agno", {"agent": {"name": "a"}}, "no model"),
    "crewai agents": ("crewai", {"tasks": [1]}, "agents"),
    "crewai tasks": ("crewai", {"agents": [1], "tasks": []}, "tasks"),
}


@pytest.mark.parametrize("name", BAD_CODE)
def test_a_code_workflow_that_its_framework_could_not_run_is_refused(place: Tenant, name: str) -> None:
    framework, data, detail = BAD_CODE[name]
    with refused("22023", "workflow_invalid") as refusal:
        add_code(place.owner, place, name="Bad", framework=framework, workflow_data=data)
    assert detail in refusal.detail


@pytest.mark.parametrize(
    "data",
    [
        {"headers": {"Authorization": "Bearer abc"}},
        {"authentication": {"type": "bearer", "config": {"token": "abc"}}},
    ],
    ids=str,
)
def test_a_credential_is_named_and_not_written_down(place: Tenant, data: Row) -> None:
    with refused("22023", "credential_is_literal"):
        add_code(
            place.owner, place, name="Secret", workflow_data={"endpoint": {"url": "https://crew.example.com", **data}}
        )


def test_the_framework_is_that_of_the_agent(place: Tenant) -> None:
    agent = place.add_agent(framework="agno", build_type="code")
    with refused("22023", "workflow_invalid") as refusal:
        add_code(place.owner, place, agent_slug=agent)
    assert "agno" in refusal.detail
    data = {"endpoint": {"url": "https://agno.example.com", "agent_id": "a"}}
    add_code(place.owner, place, agent_slug=agent, framework="agno", workflow_data=data)
