"""Checkpoints of frameworks' pauses: told apart by their format, and read back once a person has answered."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from workers.contract import ClaimedTask
from workers.errors import TaskFailure
from workers.questions import Answer


class Kept(BaseModel):
    """What a checkpoint holds; the default of `format` says whose it is and how it is laid out."""

    model_config = ConfigDict(frozen=True)

    format: str


KeptT = TypeVar("KeptT", bound=Kept)


def read_kept(claimed: ClaimedTask, kind: type[KeptT]) -> tuple[KeptT, Answer] | None:
    """Return what was kept and the answer to what was asked; None when nothing of this kind was.

    Raises:
        TaskFailure: checkpoint_unreadable.
    """
    raw, answer = claimed.checkpoint, claimed.answer
    if answer is None or not isinstance(raw, dict) or raw.get("format") != kind.model_fields["format"].default:
        return None
    try:
        return kind.model_validate(raw), answer
    except ValidationError:
        problem = "The task's checkpoint holds what this version of the worker cannot read."
        raise TaskFailure("checkpoint_unreadable", problem, retryable=True) from None
