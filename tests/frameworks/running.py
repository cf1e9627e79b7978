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
from collections.abc import Callable, Iterator, Sequence
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
            target = str(venv / "bin/python")
            sync = [str(uv), "pip", "sync", "--quiet", "--require-hashes", "--python", target, str(LOCK)]
            subprocess.run(sync, check=True, env=certificates)
            stamp.write_text(wanted)
    return venv


@contextmanager
def framework_servers(folder: Path) -> Iterator[tuple[str, str]]:
    """Run `langgraph dev`, the in-memory server, and an AgentOS; yield their addresses.

    Neither needs a licence key or sends anything out.
    """
    programs = ready_venv() / "bin"
    for name in ("graphs.py", "langgraph.json"):
        shutil.copy(SERVERS / name, folder)
    graphs, agno = _free_port(), _free_port()
    dev: list[str | Path] = [
        programs / "langgraph",
        "dev",
        "--host",
        "127.0.0.1",
        "--port",
        str(graphs),
        "--no-browser",
        "--no-reload",
    ]
    quiet = {"LANGSMITH_TRACING": "false", "LANGGRAPH_CLI_NO_ANALYTICS": "1", "AGNO_TELEMETRY": "false"}
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **quiet}
    with (
        _running([*dev, "--n-jobs-per-worker", "5"], folder, environment, f"http://127.0.0.1:{graphs}/ok") as first,
        _running(
            [programs / "python", SERVERS / "agent_os.py", str(agno), folder / "agno.db"],
            folder,
            environment,
            f"http://127.0.0.1:{agno}/health",
        ) as second,
    ):
        first()
        second()
        yield f"http://127.0.0.1:{graphs}", f"http://127.0.0.1:{agno}"


@contextmanager
def crew_server(python: str, folder: Path) -> Iterator[str]:
    """Run a real crew behind CrewAI's API with a Python that has crewai; yield its address."""
    port = _free_port()
    quiet = {"CREWAI_DISABLE_TELEMETRY": "true", "OTEL_SDK_DISABLED": "true", "CREWAI_TRACING_ENABLED": "false"}
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **quiet}
    command: list[str | Path] = [python, SERVERS / "crew.py", str(port)]
    with _running(command, folder, environment, f"http://127.0.0.1:{port}/inputs") as wait:
        wait()
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _running(
    command: Sequence[str | Path], folder: Path, environment: dict[str, str], url: str
) -> Iterator[Callable[[], None]]:
    """Run a program; what is yielded waits until it answers."""
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        yield lambda: _wait(process, url, log)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 180  # Importing takes minutes on a machine that is busy.
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
