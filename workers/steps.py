"""Computes the jq programs of project steps: conditions and transforms.

What becomes of the step follows from the task, in the database. The results that the program sees are read when it
runs, by the lease, so that they stand in no task twice.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from workers.agents.transforms import TransformError, Transforms
from workers.backend import Backend
from workers.contract import Completion
from workers.errors import BackendError, TaskFailure
from workers.job import Job

MAX_RESULT_BYTES = 4_000_000


class _Program(BaseModel):
    """What to compute, as read_step_input answers; with an error_code, why there is nothing to."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    kind: Literal["condition", "transform"] = "transform"
    program: str = ""
    steps: dict[str, Any] = {}
    error_code: Literal["result_too_large"] | None = None
    error_message: str = ""


class StepPrograms:
    """The handler of the method `evaluate_step`."""

    def __init__(self, transforms: Transforms, database: Backend) -> None:
        self._transforms = transforms
        self._database = database

    async def evaluate(self, job: Job) -> Completion:
        """Answer with the first result of a transform as JSON, or with `true` or `false` for a condition.

        As in jq, a condition holds unless it gives false, null or nothing.

        Raises:
            TaskFailure: program_failed, result_too_large; what jq said is quoted.
        """
        found = await self._read(job)
        if found is None:
            return Completion(response="null")
        if found.error_code is not None:
            raise TaskFailure(found.error_code, found.error_message)
        with job.step("transform", found.kind, {"program": found.program, "steps": sorted(found.steps)}) as record:
            value = record.output = await self._run(job.claimed.task.organization_slug, found)
        if found.kind == "condition":
            return Completion(response=json.dumps(value is not None and value is not False))
        response = json.dumps(value, ensure_ascii=False)
        if (size := len(response.encode())) > MAX_RESULT_BYTES:
            raise _too_large(f"It gives {size} bytes; at most {MAX_RESULT_BYTES} are kept.")
        return Completion(response=response)

    async def _read(self, job: Job) -> _Program | None:
        arguments = {"task_id": job.claimed.task.id, "lease_token": job.claimed.lease_token}
        try:
            answer = await self._database.call("read_step_input", arguments)
            return None if answer is None else _Program.model_validate(answer)
        except (BackendError, ValidationError) as error:
            raise TaskFailure(
                "internal_error", f"The program could not be read: {type(error).__name__}.", retryable=True
            ) from None

    async def _run(self, organization: str, found: _Program) -> Any:
        try:
            return await self._transforms.run_filter(organization, found.program, {"steps": found.steps})
        except TransformError as error:
            if error.kind == "empty" and found.kind == "condition":
                return None
            if error.kind == "too_large":
                raise _too_large(error.message) from None
            raise TaskFailure(
                "program_failed", f"The {found.kind} does not work ({error.kind}): {error.message}"
            ) from None


def _too_large(message: str) -> TaskFailure:
    return TaskFailure("result_too_large", message)
