"""Pausing for people from end to end: real worker processes, a provider's wire format, a person at PostgREST."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.helpers import Caller, Tenant, found, ok, sign_up
from tests.stack import Stack
from tests.unit.http_server import Reply, Seen, Server, serve
from tests.unit.wire import MODELS, stream
from tests.workers.conftest import Lab, WorkerProcess
from tests.workers.waiting import Row, wait_for

QUESTION = '{"question": "Who is it for?", "choices": ["children", "sailors"]}'


@dataclass
class Provider:
    """A language model that asks who a text is for, unless the prompt is simple, and writes when it is told.

    While `go` is not set, it thinks about people's answers.
    """

    go: threading.Event = field(default_factory=threading.Event)

    def answer(self, seen: Seen) -> Reply:
        messages = seen.json["messages"]
        told = [message["content"] for message in messages if message["role"] == "tool"]
        if told:
            self.go.wait(30)
            return stream("openai", ["Written for ", f"{told[-1]}."])
        if "Simple" in str(messages):
            return stream("openai", ["Simple."])
        return stream("openai", [QUESTION], tool="ask_person", stop="tool_calls")


@dataclass
class Scene:
    """A person with an organization and an agent that may ask, workers for it, and the model that they call."""

    person: Caller
    tenant: Tenant
    lab: Lab
    model: Server
    provider: Provider

    def worker(self, *options: str, **environment: str) -> WorkerProcess:
        """Start a worker for one task at a time."""
        keys = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": f"{self.model.url}/v1"}
        return self.lab.start_worker("--concurrency", "1", *options, **{**keys, **environment})

    def task(self, prompt: str = "Write about tide pools", **columns: Any) -> str:
        return str(self.tenant.insert_task(prompt=prompt, **columns)["id"])

    def question(self, task_id: str) -> Row:
        """Wait until the task is paused and read its question, as the person does."""
        self.lab.await_task(task_id, "paused")
        (question,) = self.person.rows("input_requests", task_id=f"eq.{task_id}", status="eq.pending")
        return question

    def answer(self, question: Row, response: Any = "children") -> httpx.Response:
        return self.person.rpc("respond_to_input_request", input_request_id=question["id"], response=response)


@contextmanager
def playing(stack: Stack, folder: Path, **options: Any) -> Iterator[Scene]:
    config = {"provider": "openai", "model": MODELS["openai"], "tools": {"ask_person": options}}
    provider = Provider()
    provider.go.set()
    with httpx.Client(base_url=stack.url, timeout=30, trust_env=False) as http, serve(provider.answer) as model:
        person = sign_up(http, stack.anon_key)
        tenant = found(person, llm_config=config)
        lab = Lab(stack, tenant.organization, folder)
        lab.user_id = person.id
        try:
            yield Scene(person, tenant, lab, model, provider)
        finally:
            provider.go.set()
            for worker in lab.own_workers:
                print(f"--- {worker.id}\n{worker.log.read_text()[-4000:]}")
            lab.close()


@pytest.fixture
def scene(stack: Stack, tmp_path: Path) -> Iterator[Scene]:
    with playing(stack, tmp_path) as scene:
        yield scene


def test_an_agent_asks_frees_its_slot_and_goes_on_where_it_was(scene: Scene) -> None:
    worker = scene.worker()
    task_id = scene.task()
    question = scene.question(task_id)
    paused = scene.lab.task(task_id)
    assert (paused["lease_token"], paused["progress_message"], paused["attempt"]) == (None, None, 1)
    assert (question["prompt"], question["request_type"]) == ("Who is it for?", "choice")
    wait_for(lambda: worker.lines(event="task", task_id=task_id, outcome="paused"), 5, "the worker logs the pause")

    other = scene.task("Simple")  # The only slot is free.
    assert scene.lab.await_task(other)["response"] == "Simple."
    assert len(scene.model.seen) == 2

    refused = scene.answer(question, "landlubbers")
    assert (refused.status_code, refused.json()["message"]) == (400, "response_does_not_fit")
    assert ok(scene.answer(question))["status"] == "answered"
    task = scene.lab.await_task(task_id)
    assert (task["response"], task["attempt"], task["error_code"]) == ("Written for children.", 1, None)
    assert len(scene.model.seen) == 3, "nothing that was finished is done again"
    sent = scene.model.seen[-1].body.decode()
    assert sent.index("Write about tide pools") < sent.index("Who is it for?") < sent.index('"children"')

    assert scene.lab.run_statuses(task_id) == ["paused", "completed"]
    bills = {str(bill["run_id"]): bill["output_tokens"] for bill in scene.lab.usage(task_id)}
    assert bills == {str(run["id"]): 15 for run in scene.lab.runs(task_id)}
    assert [version["content"] for version in scene.lab.versions(task_id)] == ["Written for children."]
    assert scene.lab.streamed(task_id) == "Written for children."
    moves = [event["data"]["to"] for event in scene.lab.events(task_id, type_="status")]
    assert moves == ["pending", "in_progress", "paused", "pending", "in_progress", "completed"]
    count = scene.lab.sql.execute("select count(*) from private.task_checkpoints where task_id = %s", (task_id,))
    assert count.fetchone() == {"count": 0}


def test_a_question_outlives_the_worker_that_asked_it(scene: Scene) -> None:
    asker = scene.worker()
    task_id = scene.task(timeout_seconds=5)
    question = scene.question(task_id)
    asker.kill()
    ok(scene.answer(question))
    assert scene.lab.task(task_id)["status"] == "pending"
    other = scene.worker()
    task = scene.lab.await_task(task_id)
    assert (task["response"], task["attempt"], task["worker_id"]) == ("Written for children.", 1, other.id)
    assert [run["worker_id"] for run in scene.lab.runs(task_id)] == [asker.id, other.id]
    assert len(scene.model.seen) == 2


def test_a_worker_killed_after_the_answer_costs_only_what_it_had_begun(scene: Scene) -> None:
    scene.provider.go.clear()
    victim = scene.worker("--lease-seconds", "2")
    task_id = scene.task()
    ok(scene.answer(scene.question(task_id)))
    wait_for(lambda: len(scene.model.seen) == 2, 20, "the model is asked again")
    victim.kill()
    scene.worker()
    wait_for(lambda: len(scene.model.seen) == 3, 30, "another worker goes on")
    scene.provider.go.set()
    task = scene.lab.await_task(task_id)
    assert (task["response"], task["attempt"]) == ("Written for children.", 2)
    assert scene.lab.run_statuses(task_id) == ["paused", "abandoned", "completed"]
    asked = scene.person.rows("input_requests", task_id=f"eq.{task_id}")
    assert [row["status"] for row in asked] == ["answered"], "nobody is asked twice"
    assert ["tool_call_id" in seen.body.decode() for seen in scene.model.seen] == [False, True, True]


def test_a_cancelled_question_is_over_and_the_worker_works_on(scene: Scene) -> None:
    scene.worker()
    task_id = scene.task()
    question = scene.question(task_id)
    ok(scene.person.rpc("cancel_task", task_id=task_id))
    refused = scene.answer(question)
    assert (refused.status_code, refused.json()["message"]) == (409, "input_request_closed")
    assert scene.lab.await_task(scene.task("Simple"))["response"] == "Simple."
    assert scene.lab.task(task_id)["status"] == "cancelled"


@pytest.mark.parametrize("policy", ["fail", "resume"])
def test_nobody_answers(stack: Stack, tmp_path: Path, policy: str) -> None:
    with playing(stack, tmp_path, expires_in_seconds=1, on_expiry=policy) as scene:
        scene.worker()
        task_id = scene.task()
        if policy == "resume":
            assert "Nobody answered in time" in scene.lab.await_task(task_id)["response"]
            return
        task = scene.lab.await_task(task_id, "timeout")
        assert task["error_code"] == "input_expired"
        ok(scene.person.rpc("retry_task", task_id=task_id))
        question = scene.question(task_id)
        assert len(scene.model.seen) == 2, "it begins anew"
        ok(scene.answer(question))
        assert scene.lab.await_task(task_id)["response"] == "Written for children."


def test_offline_the_draft_is_for_whom_the_person_says(scene: Scene) -> None:
    scene.worker(LLM_OFFLINE="1", LLM_OFFLINE_DELAY="0")
    task_id = scene.task()
    question = scene.question(task_id)
    ok(scene.answer(question, "children of eight"))
    assert "children of eight" in scene.lab.await_task(task_id)["response"]
    assert scene.model.seen == []
