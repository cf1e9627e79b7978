"""External agents from end to end: real worker processes, the real database, a real A2A server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.a2a_server import Remote, remote_agent
from tests.workers.conftest import Crew, Lab
from tests.workers.waiting import wait_for


@pytest.fixture(scope="module")
def remote() -> Iterator[Remote]:
    with remote_agent() as remote:
        yield remote


@pytest.fixture(scope="module")
def older() -> Iterator[Remote]:
    with remote_agent(version="0.3", binding="HTTP+JSON", streaming=False) as remote:
        yield remote


@pytest.fixture(autouse=True)
def crew_of_two(crew: Crew, remote: Remote) -> None:
    crew.muster(2)
    remote.script.go_on.set()
    remote.script.seen.clear()
    remote.script.cancelled.clear()


def add_agent(lab: Lab, remote: Remote, **endpoint: Any) -> str:
    return lab.add_agent(agent_type="external", endpoint={"url": remote.url, "protocol": "a2a", **endpoint})


def remote_rows(lab: Lab, task_id: str) -> list[dict[str, Any]]:
    return lab.sql.execute("select * from private.remote_tasks where task_id = %s", (task_id,)).fetchall()


def test_a_task_leaves_a_deliverable_with_its_files_and_the_story_of_its_artifacts(lab: Lab, remote: Remote) -> None:
    task_id = lab.add_task(add_agent(lab, remote), "mixed please")
    task = lab.await_task(task_id)
    (version,) = lab.versions(task_id)
    assert version["content"].startswith("One\n\n```json")
    assert [file["name"] for file in version["file_attachments"]] == ["a.png", "evil", "t.bin", "big.bin"]
    told = task["response_metadata"]["a2a"]
    assert (told["version"], told["state"], len(told["artifacts"])) == (remote.version, "completed", 2)
    assert task["response_metadata"]["output"] == {"n": 1}
    assert lab.streamed(task_id) == "OneTwo"
    (row,) = remote_rows(lab, task_id)
    assert (row["remote_task_id"], row["message_id"]) == (told["task_id"], f"{task_id}.1")


def test_the_next_task_of_a_conversation_goes_on_in_its_context(lab: Lab, remote: Remote) -> None:
    agent = add_agent(lab, remote)
    conversation = lab.add_conversation(agent)
    for prompt in ("echo one", "echo two"):
        lab.await_task(lab.add_task(agent, prompt, agent_conversation_id=conversation))
    lab.await_task(lab.add_task(agent, "echo elsewhere", agent_conversation_id=lab.add_conversation(agent)))
    first, second, elsewhere = remote.script.seen
    assert second.context_id == first.context_id != elsewhere.context_id
    assert [sender for sender, _ in lab.messages(conversation)] == ["user", "agent"] * 2


def test_a_question_waits_for_a_person_and_the_answer_goes_to_the_same_remote_task(lab: Lab, remote: Remote) -> None:
    task_id = lab.add_task(add_agent(lab, remote), "ask me")
    lab.await_task(task_id, "paused")
    row = lab.sql.execute("select * from public.input_requests where task_id = %s", (task_id,)).fetchone()
    assert row is not None
    assert row["prompt"] == "Which colour?"
    lab.post("rpc/respond_to_input_request", input_request_id=str(row["id"]), response="blue")
    assert lab.await_task(task_id)["response"] == "You said blue"
    assert remote.script.seen[1].task_id == remote_rows(lab, task_id)[0]["remote_task_id"]
    assert len(remote.script.seen) == 2


def test_a_rejected_task_stays_rejected_and_a_failed_one_says_why(lab: Lab, remote: Remote) -> None:
    agent = add_agent(lab, remote)
    rejected = lab.await_task(lab.add_task(agent, "reject it"), "rejected")
    assert (rejected["error_code"], rejected["attempt"]) == ("remote_rejected", 1)
    assert rejected["error_message"].endswith("Not my kind of work")
    failed = lab.await_task(lab.add_task(agent, "fail now"), "failed")
    assert failed["error_code"] == "remote_failed"
    assert failed["error_data"]["state"] == "failed"
    assert remote_rows(lab, str(failed["id"])) == []


def test_cancelling_a_task_cancels_the_remote_one(lab: Lab, remote: Remote) -> None:
    remote.script.go_on.clear()
    task_id = lab.add_task(add_agent(lab, remote), "wait for it")
    (row,) = wait_for(lambda: remote_rows(lab, task_id), 10, "the remote task is known")
    wait_for(lambda: remote_rows(lab, task_id)[0]["remote_task_id"], 10, "the remote task is known")
    lab.post("rpc/cancel_task", task_id=task_id)
    wait_for(lambda: remote.script.cancelled, 5, "the remote task is cancelled")
    assert remote.script.cancelled == [remote_rows(lab, task_id)[0]["remote_task_id"]]
    assert row["message_id"] == f"{task_id}.1"
    assert lab.task(task_id)["status"] == "cancelled"


def test_a_remote_task_that_is_over_is_not_asked_again_when_the_task_is_retried(lab: Lab, remote: Remote) -> None:
    agent = add_agent(lab, remote)
    task_id = lab.add_task(agent, "fail now")
    lab.await_task(task_id, "failed")
    lab.post("rpc/retry_task", task_id=task_id)
    wait_for(lambda: lab.task(task_id)["attempt"] == 2, 10, "the task is taken again")
    lab.await_task(task_id, "failed")
    assert [message.message_id for message in remote.script.seen] == [f"{task_id}.1", f"{task_id}.2"]


def test_an_agent_of_the_older_version_asks_and_answers_too(lab: Lab, older: Remote) -> None:
    task_id = lab.add_task(add_agent(lab, older, version="0.3"), "ask me")
    lab.await_task(task_id, "paused")
    row = lab.sql.execute("select id from public.input_requests where task_id = %s", (task_id,)).fetchone()
    assert row is not None
    lab.post("rpc/respond_to_input_request", input_request_id=str(row["id"]), response={"colour": "blue"})
    task = lab.await_task(task_id)
    assert task["response"] == "You said [{'colour': 'blue'}]"
    assert task["response_metadata"]["a2a"]["version"] == "0.3"


def test_when_a_worker_is_killed_the_next_one_goes_on_with_the_same_remote_task(
    crew: Crew, lab: Lab, remote: Remote
) -> None:
    remote.script.go_on.clear()
    task_id = lab.add_task(add_agent(lab, remote), "stream and wait")
    wait_for(lambda: lab.streamed(task_id).endswith("word4 "), 10, "the stream is passed on")
    crew.holder(lab.task(task_id)).kill()
    wait_for(lambda: lab.task(task_id)["attempt"] == 2, 15, "the task is taken again")
    remote.script.go_on.set()
    task = lab.await_task(task_id)
    assert task["response"] == "".join(f"word{number} " for number in range(10))
    assert (task["attempt"], len(remote.script.seen), remote.script.cancelled) == (2, 1, [])
