"""Starts the real servers of the frameworks on 127.0.0.1, from a venv of their own that is made when it is missing."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

SERVERS = Path(__file__).parent / "servers"
LOCK = SERVERS / "requirements.lock"
HOME = Path(__file__).parents[2] / ".stack" / "frameworks"


def ready_venv() -> Path:
    """Return the venv, made anew when its lock has changed; about 200 MB and ten seconds from an empty cache."""
    HOME.mkdir(parents=True, exist_ok=True)
    stamp, venv = HOME / "installed", HOME / "venv"
    wanted = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()
    with (HOME / "lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            stamp.unlink(missing_ok=True)
            uv = Path(sys.executable).with_name("uv")
            certificates = {**os.environ, "UV_SYSTEM_CERTS": "1"}
            subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, venv], check=True)
            sync = [uv, "pip", "sync", "--quiet", "--require-hashes", "--python", venv / "bin/python", LOCK]
            subprocess.run(sync, check=True, env=certificates)
            stamp.write_text(wanted)
    return venv


@contextmanager
def langgraph_server(folder: Path) -> Iterator[str]:
    """Run `langgraph dev`, the in-memory server; yield its address. It needs no licence key and sends nothing out."""
    for name in ("graphs.py", "langgraph.json"):
        shutil.copy(SERVERS / name, folder)
    port = _free_port()
    command = [ready_venv() / "bin/langgraph", "dev", "--host", "127.0.0.1", "--port", str(port), "--no-browser"]
    command += ["--no-reload", "--n-jobs-per-worker", "5"]
    quiet = {"LANGSMITH_TRACING": "false", "LANGGRAPH_CLI_NO_ANALYTICS": "1"}
    with _running(command, folder, quiet, f"http://127.0.0.1:{port}", "/ok") as url:
        yield url


@contextmanager
def agent_os(folder: Path) -> Iterator[str]:
    """Run an AgentOS; yield its address."""
    port = _free_port()
    command = [ready_venv() / "bin/python", SERVERS / "agent_os.py", str(port), folder / "agno.db"]
    with _running(command, folder, {"AGNO_TELEMETRY": "false"}, f"http://127.0.0.1:{port}", "/health") as url:
        yield url


@contextmanager
def _running(command: Sequence[str | Path], folder: Path, more: dict[str, str], url: str, path: str) -> Iterator[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **more}
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        _wait(process, url + path, log)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            if httpx.get(url, timeout=2).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise AssertionError(f"{url} did not come up: {log.read_text()[-3000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
