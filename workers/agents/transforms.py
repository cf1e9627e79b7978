"""Templates and jq filters of tenants, run where they can hurt nobody.

They run in child processes that have an empty environment, open no file, and are killed when they take too long or too
much memory (`transform_child`). A few are kept, so that a job costs a message and not a process. A child ends when its
standard input does, so none outlives the worker, however that ends.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import weakref
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from workers.burial import bury

TransformErrorKind = Literal["syntax", "failed", "empty", "too_large", "too_much"]
_CHILD = Path(__file__).with_name("transform_child.py")


class TransformError(Exception):
    """A template or filter did not work; the message may quote what it was given.

    `syntax`: it cannot be compiled. `failed`: it met data it cannot work on. `empty`: a filter without a result.
    `too_large`: its result is. `too_much`: it took more time or memory than it may.
    """

    def __init__(self, kind: TransformErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformLimits:
    """What one job may take, and how many run at once; an organization never has all of the processes."""

    cpu_seconds: float = 2.0
    wall_seconds: float = 10.0
    memory_bytes: int = 512 * 1024 * 1024
    processes: int = 4


class Transforms:
    """The children of one worker; use as a context manager. They are started when they are needed."""

    def __init__(self, limits: TransformLimits | None = None) -> None:
        self._limits = limits or TransformLimits()
        self._idle: list[Process] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(self._limits.processes)
        self._turns_of: weakref.WeakValueDictionary[str, asyncio.Semaphore] = weakref.WeakValueDictionary()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._idle:
            self._end(self._idle.pop())
        await asyncio.gather(*self._ending)

    async def check_filter(self, organization: str, source: str) -> None:
        """Compile a jq filter.

        Raises:
            TransformError: syntax, too_much.
        """
        await self._ask(organization, {"do": "check", "filter": source})

    async def run_filter(self, organization: str, source: str, document: Any) -> Any:
        """Return the first result of a jq filter on a JSON value.

        Raises:
            TransformError: any.
        """
        return await self._ask(organization, {"do": "filter", "filter": source, "input": json.dumps(document)})

    async def render(self, organization: str, template: Any, names: Mapping[str, Any]) -> Any:
        """Return what a template gives: JSON for an object or a text that begins like JSON, else a text.

        Raises:
            TransformError: any but empty.
        """
        return await self._ask(organization, {"do": "render", "template": template, "names": names})

    async def _ask(self, organization: str, job: Mapping[str, Any]) -> Any:
        own_turns = self._turns_of.get(organization)
        if own_turns is None:
            own_turns = self._turns_of[organization] = asyncio.Semaphore(max(1, self._limits.processes - 1))
        message = json.dumps(job).encode()
        async with own_turns, self._turns:
            answer = await self._exchange(message)
        if "error" in answer:
            problem = answer["message"] if answer["error"] != "too_much" else self._too_much()
            raise TransformError(answer["error"], problem)
        return answer["value"]

    async def _exchange(self, message: bytes) -> dict[str, Any]:
        """Give a job to a child; one that is not done with it is not used again."""
        child = await self._child()
        done = False
        try:
            async with asyncio.timeout(self._limits.wall_seconds + 5):  # It ends by itself sooner.
                answer: dict[str, Any] = json.loads(await _converse(child, message))
            done = not answer.get("last")
            return answer
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            return {"error": "too_much", "message": ""}
        finally:
            if done:
                self._idle.append(child)
            else:
                self._end(child)

    async def _child(self) -> Process:
        while self._idle:
            child = self._idle.pop()
            if child.returncode is None:
                return child
            self._end(child)
        limits = self._limits
        arguments = (str(limits.cpu_seconds), str(limits.wall_seconds), str(limits.memory_bytes))
        return await asyncio.create_subprocess_exec(
            sys.executable, "-I", str(_CHILD), *arguments, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, cwd="/", env={}
        )

    def _end(self, child: Process) -> None:
        burial = asyncio.create_task(bury(child))
        self._ending.add(burial)
        burial.add_done_callback(self._ending.discard)

    def _too_much(self) -> str:
        limits = self._limits
        return f"It takes more than {limits.cpu_seconds:g} seconds or {limits.memory_bytes // 2**20} MiB of memory."


async def _converse(child: Process, message: bytes) -> bytes:
    if child.stdin is None or child.stdout is None:
        raise RuntimeError("a child without pipes")
    child.stdin.write(struct.pack(">I", len(message)) + message)
    await child.stdin.drain()
    (length,) = struct.unpack(">I", await child.stdout.readexactly(4))
    return await child.stdout.readexactly(length)
