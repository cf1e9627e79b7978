"""A process that measures: started and warm, let go by a word, and heard at its end. Ours and the peers' are alike.

Each says `ready` when everything is imported, waits for a line on standard input, and ends by printing JSON.
"""

import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

import psutil

START_SECONDS = 60.0
_LOOK_SECONDS = 0.05


class Process:
    """One measuring process; `sizes` are its resident bytes, sampled while it is waited for."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], files: tuple[IO[str], IO[str]]) -> None:
        self._out, self._err = files
        self._popen = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=self._out, stderr=self._err, text=True
        )
        self._process = psutil.Process(self._popen.pid)
        self.sizes: list[int] = []

    def wait_until_ready(self) -> None:
        """Return when it has said so; raises SystemExit when it ended or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while not self._said().startswith("ready"):
            if self._popen.poll() is not None or time.monotonic() > deadline:
                self._fail("did not get ready")
            time.sleep(0.02)

    def go(self) -> None:
        """Let it begin."""
        assert self._popen.stdin is not None
        self._popen.stdin.write("go\n")
        self._popen.stdin.flush()

    def stop(self) -> None:
        """Ask it to drain."""
        self._popen.send_signal(signal.SIGTERM)

    def sample(self) -> bool:
        """Note its size once; False when it has ended."""
        if self._popen.poll() is not None:
            return False
        try:
            self.sizes.append(self._process.memory_info().rss)
        except psutil.NoSuchProcess:
            return False
        return True

    def result(self, seconds: float) -> dict[str, Any]:
        """Wait for its end and return what it printed; raises SystemExit when it failed or takes too long."""
        deadline = time.monotonic() + seconds
        while self.sample():
            if time.monotonic() > deadline:
                self._fail(f"did not end within {seconds:g} s")
            time.sleep(_LOOK_SECONDS)
        if self._popen.returncode != 0:
            self._fail(f"ended with {self._popen.returncode}")
        found: dict[str, Any] = json.loads(self._said().splitlines()[-1])
        return found

    @property
    def peak(self) -> float:
        """The largest size seen, in MB (2**20 bytes)."""
        return max(self.sizes, default=0) / 2**20

    def end(self) -> None:
        """Kill it if it still runs."""
        if self._popen.poll() is None:
            self._popen.kill()
        self._popen.communicate()

    def _said(self) -> str:
        self._out.seek(0)
        return self._out.read()

    def _fail(self, what: str) -> None:
        self._err.seek(0)
        raise SystemExit(f"bench: {self._popen.args!r} {what}\n{self._err.read()[-3000:]}")


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Process]:
    """A process that is ready to go, and gone afterwards."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = Process(command, environment, (out, err))
        try:
            process.wait_until_ready()
            yield process
        finally:
            process.end()
