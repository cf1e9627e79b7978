"""Real n8n and real crewai, which are too large to be installed for every run of the tests (docs/frameworks.md).

TEST_N8N_URL and TEST_N8N_API_KEY name an n8n on this machine that was started with NODE_FUNCTION_ALLOW_BUILTIN=crypto,
and a key that may create and activate workflows and read executions. TEST_CREWAI_PYTHON names a Python with crewai.
"""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.frameworks.running import crew_server
from tests.workers.conftest import Crew, Lab
from tests.workers.test_frameworks import add_agent, answer, question, remote_ids

N8N = os.environ.get("TEST_N8N_URL", "")
KEY = os.environ.get("TEST_N8N_API_KEY", "")
CREWAI = os.environ.get("TEST_CREWAI_PYTHON", "")
needs_n8n = pytest.mark.skipif(not N8N, reason="TEST_N8N_URL names no n8n")
needs_crewai = pytest.mark.skipif(not CREWAI, reason="TEST_CREWAI_PYTHON names no Python")

SAY = "return [{json: {content: 'You said ' + $('Hook').first().json.body.prompt}}]"
RESPOND = {"respondWith": "json", "responseBody": "={{ JSON.stringify({executionId: $execution.id}) }}"}
HEADERS = {"apikey": "apikey", "webhook-id": "id", "webhook-timestamp": "time", "webhook-signature": "signature"}


@pytest.fixture(autouse=True)
def crew_of_one(crew: Crew) -> None:
    crew.muster(1)


def node(name: str, kind: str, version: float, **parameters: Any) -> dict[str, Any]:
    place = {"id": name, "name": name, "position": [0, 0]}
    return {**place, "type": f"n8n-nodes-base.{kind}", "typeVersion": version, "parameters": parameters}


def signing_code() -> str:
    """Return the code that the documentation gives, for the nodes of these tests."""
    page = (Path(__file__).parents[2] / "docs/frameworks.md").read_text()
    (code,) = [part.split("```")[0] for part in page.split("```js\n") if "createHmac" in part.split("```")[0]]
    return code.replace("$('Webhook')", "$('Hook')").replace("$input.first().json.text", "'You said ' + job.prompt")


def add_flow(mode: str, *nodes: dict[str, Any]) -> str:
    """Make and activate a workflow; return the path of its webhook."""
    path = f"test-{uuid.uuid4().hex[:12]}"
    hook = node("Hook", "webhook", 2, httpMethod="POST", path=path, responseMode=mode) | {"webhookId": path}
    chain = [hook, *nodes]
    links = {
        before["name"]: {"main": [[{"node": after["name"], "type": "main", "index": 0}]]}
        for before, after in itertools.pairwise(chain)
    }
    flow = {"name": path, "nodes": chain, "connections": links, "settings": {}}
    with httpx.Client(base_url=f"{N8N}/api/v1", headers={"X-N8N-API-KEY": KEY}) as n8n:
        made = n8n.post("/workflows", json=flow).raise_for_status().json()
        n8n.post(f"/workflows/{made['id']}/activate").raise_for_status()
    return f"webhook/{path}"


@needs_n8n
def test_n8n_answers(lab: Lab) -> None:
    path = add_flow("lastNode", node("Say", "code", 2, jsCode=SAY))
    task = lab.await_task(lab.add_task(add_agent(lab, "n8n", N8N, webhook_path=path), "hello"))
    assert task["response"] == "You said hello"


@needs_n8n
def test_n8n_is_followed_by_its_executions(lab: Lab) -> None:
    wait = node("Wait", "wait", 1.1, amount=1, unit="seconds")
    path = add_flow(
        "responseNode", node("Respond", "respondToWebhook", 1.1, **RESPOND), wait, node("Say", "code", 2, jsCode=SAY)
    )
    agent = add_agent(lab, "n8n", N8N, webhook_path=path, wait_for="execution", api_key=KEY)
    assert lab.await_task(lab.add_task(agent, "hello"))["response"] == "You said hello"
    boom = node("Say", "code", 2, jsCode="throw new Error('boom')")
    path = add_flow("responseNode", node("Respond", "respondToWebhook", 1.1, **RESPOND), boom)
    agent = add_agent(lab, "n8n", N8N, webhook_path=path, wait_for="execution", api_key=KEY)
    task = lab.await_task(lab.add_task(agent, "hello"), "failed")
    assert (task["error_code"], "boom" in task["error_message"]) == ("remote_failed", True)


@needs_n8n
def test_n8n_reports_signed(lab: Lab) -> None:
    headers = [{"name": name, "value": f"={{{{ $json.{key} }}}}"} for name, key in HEADERS.items()]
    send = node(
        "Report", "httpRequest", 4.2, method="POST", url="={{ $json.url }}", sendHeaders=True,
        headerParameters={"parameters": headers}, sendBody=True, contentType="raw",
        rawContentType="application/json", body="={{ $json.body }}",
    )  # fmt: skip
    path = add_flow("onReceived", node("Sign", "code", 2, jsCode=signing_code()), send)
    agent = add_agent(lab, "n8n", N8N, webhook_path=path, wait_for="report")
    assert lab.await_task(lab.add_task(agent, "hello"))["response"] == "You said hello"


@pytest.fixture(scope="module")
def crewai(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with crew_server(CREWAI, tmp_path_factory.mktemp("crewai")) as url:
        yield url


@needs_crewai
def test_a_real_crew_writes(lab: Lab, crewai: str) -> None:
    task_id = lab.add_task(add_agent(lab, "crewai", crewai, input_key="topic"), "tides")
    task = lab.await_task(task_id, seconds=60)
    assert task["response"] == "Facts about tides"
    assert task["response_metadata"]["crewai"]["tasks"][0]["task_id"] == "research"
    (bill,) = lab.usage(task_id)
    assert (bill["model"], bill["input_tokens"], bill["output_tokens"]) == ("scripted", 30, 4)


@needs_crewai
def test_a_real_crew_waits_for_feedback(lab: Lab, crewai: str) -> None:
    task_id = lab.add_task(add_agent(lab, "crewai", crewai, input_key="topic"), "ask about tides")
    row = question(lab, task_id)
    assert (row["request_type"], row["prompt"]) == ("approval", "Facts about ask about tides")
    kickoff, _ = remote_ids(lab, task_id)
    answer(lab, row, {"approved": False, "note": "Cite sources."})
    row = question(lab, task_id)
    assert "Cite sources." in row["prompt"]
    answer(lab, row, {"approved": True})
    assert "Cite sources." in lab.await_task(task_id, seconds=60)["response"]
    assert remote_ids(lab, task_id)[0] == kickoff


@needs_crewai
def test_a_real_crew_that_fails_says_why(lab: Lab, crewai: str) -> None:
    task = lab.await_task(lab.add_task(add_agent(lab, "crewai", crewai, input_key="topic"), "fail"), "failed", 60)
    assert (task["error_code"], "boom" in task["error_message"]) == ("remote_failed", True)
