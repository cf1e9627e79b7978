"""The end of a child process that nobody needs any more."""

from __future__ import annotations

import contextlib
from asyncio.subprocess import Process


async def bury(child: Process) -> None:
    """End a child and wait until it and its pipes are gone."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
    if child.stdin is not None:
        child.stdin.close()
        with contextlib.suppress(ConnectionError):
            await child.stdin.wait_closed()
    await child.wait()
