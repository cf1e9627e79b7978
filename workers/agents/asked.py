"""What attempts leave in their trace of questions to people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from workers.contract import ClaimedTask
from workers.errors import InputNeeded
from workers.questions import Answer
from workers.trace import step

_NAME = "ask_person"


def record_answer(call_id: str | None, question: str, answer: Answer) -> None:
    """Record what became of a question that an earlier run of the task asked."""
    with step("input_request", _NAME, {"question": question}) as record:
        record.metadata = {"phase": "answered", "status": answer.status}
        if call_id is not None:
            record.metadata["call_id"] = call_id
        record.output = answer.response


@contextmanager
def questions_recorded(claimed: ClaimedTask) -> Iterator[None]:
    """Record the questions of an agent that runs elsewhere: what was answered before, and what it asks now."""
    if claimed.answer is not None:
        record_answer(None, claimed.answer.prompt, claimed.answer)
    try:
        yield
    except InputNeeded as needed:
        with step("input_request", _NAME, {"question": needed.request.prompt}) as record:
            record.metadata = {"phase": "asked"}
        raise
