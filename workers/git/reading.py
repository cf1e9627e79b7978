"""Reads the agents' files of a pack, in a process that can hurt nobody (`pack_child`)."""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.burial import bury
from workers.errors import TaskFailure

_CHILD = Path(__file__).with_name("pack_child.py")
_MAX_MESSAGE_BYTES = 200_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingLimits:
    """What reading one pack may take."""

    cpu_seconds: int = 60
    memory_bytes: int = 1024 * 1024 * 1024
    max_objects: int = 300_000


@asynccontextmanager
async def read_pack(
    pack: str, commit: str, directory: str, known: Mapping[str, str], limits: ReadingLimits
) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """Give what stands in a pack's commit, message after message, as `pack_child` says; `directory` '' is the root.

    Raises:
        TaskFailure: repository_too_large, repository_unreadable, repository_directory_missing.
    """
    job = {"pack": pack, "commit": commit, "directory": directory, "known": known, "max_objects": limits.max_objects}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", str(_CHILD), str(limits.cpu_seconds), str(limits.memory_bytes)),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        cwd="/",
        env={},
    )
    messages = _messages(child, json.dumps(job).encode(), limits)
    try:
        yield messages
    finally:
        await messages.aclose()
        await bury(child)


async def _messages(child: Process, job: bytes, limits: ReadingLimits) -> AsyncGenerator[dict[str, Any], None]:
    if child.stdin is None or child.stdout is None:
        raise RuntimeError("a child without pipes")
    try:
        child.stdin.write(job)
        await child.stdin.drain()
        child.stdin.close()
        while True:
            (length,) = struct.unpack(">I", await child.stdout.readexactly(4))
            if length > _MAX_MESSAGE_BYTES:
                raise _too_much(limits)
            message: dict[str, Any] = json.loads(await child.stdout.readexactly(length))
            if "end" in message:
                return
            if "error" in message:
                raise _failure(message, limits)
            yield message
    except (asyncio.IncompleteReadError, ConnectionError):
        raise _too_much(limits) from None


def _failure(message: Mapping[str, Any], limits: ReadingLimits) -> TaskFailure:
    said = message["message"]
    match message["error"]:
        case "too_much":
            return _too_much(limits)
        case "too_large":
            return TaskFailure("repository_too_large", f"{said} The agents stay as they were.")
        case "directory_missing":
            problem = f"{said} Set agent_directory, or is_root. The agents stay as they were."
            return TaskFailure("repository_directory_missing", problem)
        case _:
            return TaskFailure("repository_unreadable", f"What the host sent cannot be read: {said}", retryable=True)


def _too_much(limits: ReadingLimits) -> TaskFailure:
    return TaskFailure(
        "repository_too_large",
        f"Unpacking the branch takes more than {limits.cpu_seconds} seconds or {limits.memory_bytes // 2**20} MiB of "
        "memory. Keep agents in a repository of their own. The agents stay as they were.",
    )
