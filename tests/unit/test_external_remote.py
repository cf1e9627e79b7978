"""What an external agent's task looks like from here, update by update."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest
from a2a.types import StreamResponse, Task, TaskState
from google.protobuf.json_format import ParseDict

from workers.agents.external.remote import RemoteTask, state_name
from workers.contract import EventType
from workers.errors import TaskFailure

ASKED = "2026-01-01T00:00:00Z"
LATER = "2026-01-01T00:00:01Z"


class Heard:
    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.said: list[str] = []

    def progress(self, percent: float, message: str | None = None) -> None:
        assert (percent, bool(message)) == (50, True)

    def partial(self, text: str) -> None:
        self.pieces.append(text)

    def event(self, event_type: EventType, message: str, data: Mapping[str, Any] | None = None) -> None:
        assert (event_type, data) == ("message", {"state": "working"})
        self.said.append(message)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def remote(heard: Heard) -> RemoteTask:
    return RemoteTask(heard, lambda text: text.replace("secret", "[redacted]"))


def task(state: str, *texts: str, said: str | None = None, at: str | None = None) -> Task:
    status: dict[str, Any] = {"state": f"TASK_STATE_{state}"}
    if said is not None:
        status["message"] = {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": said}]}
    if at is not None:
        status["timestamp"] = at
    artifacts = [{"artifactId": f"a{number}", "parts": [{"text": text}]} for number, text in enumerate(texts)]
    document = {"id": "r1", "contextId": "c1", "status": status, "artifacts": artifacts}
    return ParseDict(document, Task())


def event(**payload: Any) -> StreamResponse:
    return ParseDict(payload, StreamResponse())


def piece(text: str, *, append: bool, artifact: str = "a0") -> StreamResponse:
    update = {"taskId": "r1", "contextId": "c1", "append": append}
    return event(artifactUpdate={**update, "artifact": {"artifactId": artifact, "parts": [{"text": text}]}})


def test_text_is_streamed_once_whether_it_comes_in_updates_or_snapshots(remote: RemoteTask, heard: Heard) -> None:
    remote.take(event(task={"id": "r1", "contextId": "c1", "status": {"state": "TASK_STATE_SUBMITTED"}}))
    remote.take(piece("One ", append=False))
    remote.take(piece("two ", append=True))
    remote.snapshot(task("WORKING", "One two three "))
    remote.snapshot(task("COMPLETED", "One two three ", "four"))
    assert heard.pieces == ["One ", "two ", "three ", "four"]
    assert remote.settled


def test_an_update_that_appends_to_nothing_begins_an_artifact_and_one_that_does_not_append_replaces_it(
    remote: RemoteTask, heard: Heard
) -> None:
    remote.take(piece("Draft", append=True))
    remote.take(piece("Final", append=False))
    assert [part.text for part in remote.artifacts["a0"].parts] == ["Final"]
    assert heard.pieces == ["Draft", "Final"]


def test_what_the_agent_says_while_it_works_is_told_once_and_redacted(remote: RemoteTask, heard: Heard) -> None:
    for said in ("The secret", "The secret", "x" * 10_000, "y"):
        remote.snapshot(task("WORKING", said=said))
    assert heard.said[0] == "The [redacted]"
    assert (len(heard.said), len(heard.said[1])) == (3, 4000)


def test_a_flood_of_words_leaves_a_hundred_events(remote: RemoteTask, heard: Heard) -> None:
    for number in range(1000):
        remote.snapshot(task("WORKING", said=f"Step {number}"))
    assert len(heard.said) == 100


@pytest.mark.parametrize(
    ("after", "settled"),
    [
        (task("INPUT_REQUIRED", said="Which?", at=ASKED), False),
        (task("INPUT_REQUIRED", at=ASKED), False),
        (task("INPUT_REQUIRED", said="And now?", at=LATER), True),
        (task("AUTH_REQUIRED", at=ASKED), True),
        (task("WORKING", at=LATER), False),
        (task("COMPLETED", at=ASKED), True),
    ],
)
def test_a_question_that_was_answered_is_not_a_new_one(remote: RemoteTask, after: Task, settled: bool) -> None:
    remote.snapshot(task("INPUT_REQUIRED", said="Which?", at=ASKED))
    assert remote.settled
    remote.answered()
    remote.snapshot(after)
    assert remote.settled == settled


def test_without_times_the_words_tell_a_new_question(remote: RemoteTask) -> None:
    remote.snapshot(task("INPUT_REQUIRED", said="Which?"))
    remote.answered()
    assert not remote.settled
    remote.snapshot(task("INPUT_REQUIRED", said="And now?"))
    assert remote.settled
    remote.answered()
    remote.answered(False)
    assert remote.settled


@pytest.mark.parametrize("changes", [{"id": "r2"}, {"id": ""}, {"id": "x" * 600}, {"contextId": "a\x00b"}])
def test_another_task_or_an_odd_id_is_not_believed(remote: RemoteTask, changes: dict[str, str]) -> None:
    remote.snapshot(task("WORKING"))
    odd = {"id": "r1", "contextId": "c1", "status": {"state": "TASK_STATE_WORKING"}, **changes}
    with pytest.raises(TaskFailure) as caught:
        remote.take(event(task=odd))
    assert caught.value.code == "endpoint_response_invalid"


def test_states_have_the_names_of_the_protocol() -> None:
    assert state_name(TaskState.TASK_STATE_INPUT_REQUIRED) == "input-required"
    assert state_name(TaskState.TASK_STATE_UNSPECIFIED) == state_name(99) == "unknown"


def test_many_small_pieces_after_a_large_one_cost_little(remote: RemoteTask, heard: Heard) -> None:
    remote.take(piece("\U0001f600" * 2_000_000, append=False))
    more = piece("x", append=True)
    started = time.process_time()
    for _ in range(2000):
        remote.take(more)
    assert time.process_time() - started < 0.5  # To copy the large one each time takes a second and a half.
    remote.snapshot(task("WORKING", "\U0001f600" * 2_000_000 + "x" * 2000 + "end"))
    assert heard.pieces[-1] == "end"
