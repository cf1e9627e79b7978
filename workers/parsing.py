"""Reads the answers of `exchange_work`.

An answer carries rows of many tenants, so one that cannot be read must not spoil the others. Nearly every answer is
read in one go; only one that resists is taken apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from workers.contract import ClaimedTask, ExchangeAnswer, Lease, ReportItem, failed
from workers.errors import AnswerUnreadable, TaskFailure
from workers.lenient import holds_unreadable, read_damaged_json

_ANSWER = TypeAdapter(ExchangeAnswer)
_CLAIMED = TypeAdapter(ClaimedTask)
_LEASE = TypeAdapter(tuple[str, int, str])
_OBJECT = TypeAdapter(dict[str, Any])
_OBJECTS = TypeAdapter(list[dict[str, Any]])


def parse_answer(body: bytes) -> ExchangeAnswer:
    """Check an answer's JSON; keys this version does not know are ignored.

    A task that cannot be read does not spoil the others: how its attempt ends stands in `unreadable`.

    Raises:
        AnswerUnreadable: the answer as a whole is not what was agreed.
    """
    try:
        return _ANSWER.validate_json(body)
    except ValidationError:
        return _parse_apart(*_load(body))


def _load(body: bytes) -> tuple[object, bool]:
    """Return the document, and whether parts had to be left out of it."""
    try:
        return json.loads(body), False
    except (ValueError, RecursionError):
        pass
    try:
        return read_damaged_json(body), True
    except ValueError as error:
        raise AnswerUnreadable(f"exchange_work answered with something that is not JSON: {error}") from None


def _parse_apart(raw: object, damaged: bool) -> ExchangeAnswer:
    if not isinstance(raw, dict):
        raise AnswerUnreadable("exchange_work answered with something that is not a JSON object")
    try:
        tasks, unreadable = _parse_tasks(raw.get("tasks") or [], damaged=damaged)
        rest = {key: value for key, value in raw.items() if key not in {"tasks", "unreadable"} and value is not None}
        return replace(_ANSWER.validate_python(rest), tasks=tuple(tasks), unreadable=tuple(unreadable))
    except ValidationError as error:
        raise AnswerUnreadable(f"exchange_work answered in an unknown form: {_where(error)}") from None


def _parse_tasks(raw: Sequence[Any], *, damaged: bool) -> tuple[list[ClaimedTask], list[ReportItem]]:
    tasks: list[ClaimedTask] = []
    unreadable: list[ReportItem] = []
    for entry in _OBJECTS.validate_python(raw):
        failure = _damage(entry) if damaged else None
        try:
            if failure is None:
                tasks.append(_CLAIMED.validate_python(entry))
                continue
        except ValidationError:
            failure = TaskFailure("internal_error", "This worker's version cannot read the task.", retryable=True)
        task = _OBJECT.validate_python(entry.get("task"))
        fence = _LEASE.validate_python((task.get("id"), entry.get("attempt"), entry.get("lease_token")))
        unreadable.append(failed(Lease(*fence), failure))
    return tasks, unreadable


def _damage(entry: Mapping[str, Any]) -> TaskFailure | None:
    """Return why an entry from which something was left out cannot run."""
    problem = "holds JSON that is nested deeper than 200 levels or a number of more than 4000 digits"
    if holds_unreadable(entry.get("task")):
        return TaskFailure("input_invalid", f"The task {problem}.")
    if holds_unreadable(entry.get("agent")):
        return TaskFailure("agent_misconfigured", f"The agent {problem}.")
    return None


def _where(error: ValidationError) -> str:
    """Return where an answer is wrong, without the values in it."""
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
