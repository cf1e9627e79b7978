"""Worker processes that start at once: forked from a server that has imported what they need.

A new Python takes seconds of processor time to import a worker; what it runs then is the same `main`. That
`python -m workers` starts is tested in tests/unit/test_process.py, without a database.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path

from workers.__main__ import main

# pytest too, since multiprocessing imports the main script anew in every child.
_LOADED = [
    "anyio._backends._asyncio",  # Loaded at the first request otherwise.
    "pytest",
    "tests.workers.chaos_worker",
    "workers.a2a.server",
    "workers.agents.mcp_servers",
    "workers.agents.models.anthropic",
    "workers.agents.models.openai",
    __name__,
]


def context() -> ForkServerContext:
    """Return what forks from the server, of which a test run has one."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(_LOADED)
    return found


class Forked:
    """A process that runs the command line of `python -m workers`; to be used as a Popen is."""

    def __init__(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> None:
        self._command = ["workers", *arguments]
        given = (list(arguments), folder, dict(environment), log)
        self._process = context().Process(target=_become, args=given, name=log.stem)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it is known to have ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        """Return its exit status, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit status.

        Raises:
            subprocess.TimeoutExpired: it is still there.
        """
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self._command, timeout or 0)
        return code


def _become(arguments: list[str], folder: Path, environment: dict[str, str], log: Path) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        status = main(arguments)
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves them out, and the log's last lines would be lost.
    sys.exit(status)
