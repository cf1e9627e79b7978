"""Finding, starting and stopping services.

A service is found in the process table by its command line, which names a file of its instance. There are no pid files:
nothing to be stale, no recycled pid to kill by mistake, and nothing lost when `stack up` dies at any moment.
"""

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from localstack.errors import StackError

START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_LOG_LIMIT = 10_000_000  # bytes; a larger log is set aside at the next start


@dataclass(frozen=True)
class Service:
    """How one service is run and recognised."""

    name: str
    ports: tuple[int, ...]
    argv: tuple[str, ...]
    marker: str  # the argument that no process but this service has
    log: Path
    healthy: Callable[[], bool]
    stop_signals: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGKILL)
    user: int | None = None  # uid to run as; None: ours
    environment: dict[str, str] = field(default_factory=dict)


def running(services: Iterable[Service]) -> dict[str, psutil.Process]:
    """The processes of these services that are alive, by service name."""
    wanted = list(services)
    found: dict[str, psutil.Process] = {}
    for process in psutil.process_iter(["cmdline", "status", "create_time"]):
        for service in wanted:
            if not _matches(service, process.info):
                continue
            older = found.get(service.name)  # a fork that has not renamed itself yet looks like its parent
            if older is None or process.info["create_time"] < older.create_time():
                found[service.name] = process
    return found


def _matches(service: Service, info: dict[str, object]) -> bool:
    command = info["cmdline"]
    if not isinstance(command, list) or not command or info["status"] == psutil.STATUS_ZOMBIE:
        return False
    return service.marker in command[1:] and Path(command[0]).name == Path(service.argv[0]).name


def start(service: Service) -> subprocess.Popen[bytes]:
    """Starts a service in a session of its own; its output goes to its log."""
    if service.log.exists() and service.log.stat().st_size > _LOG_LIMIT:
        service.log.replace(service.log.with_suffix(".old.log"))
    environment = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG", "TZ"}}
    with service.log.open("ab") as log:
        return subprocess.Popen(
            service.argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            env=environment | service.environment,
            user=service.user,
            group=service.user and _group_of(service.user),
            extra_groups=None if service.user is None else [],
        )


def wait_until_healthy(service: Service, child: subprocess.Popen[bytes]) -> None:
    """Returns when the service answers; raises StackError with the end of its log when it exits or takes too long."""
    if not becomes_healthy(service, START_SECONDS, lambda: child.poll() is None):
        reason = "is not ready after a long while" if child.poll() is None else f"ended (exit {child.returncode})"
        raise StackError(f"{service.name} was started but {reason}", _log_tail(service))


def becomes_healthy(service: Service, seconds: float, alive: Callable[[], bool] = lambda: True) -> bool:
    """Whether the service answers within that time; False at once when it is no longer alive."""
    deadline = time.monotonic() + seconds
    while not service.healthy():
        if time.monotonic() > deadline or not alive():
            return False
        time.sleep(0.02)
    return True


def stop(service: Service, process: psutil.Process) -> None:
    """Ends a service: its first stop signal, then the harsher ones, each after a while."""
    for stop_signal in service.stop_signals:
        try:
            process.send_signal(stop_signal)
        except psutil.NoSuchProcess:
            return
        except psutil.AccessDenied as error:
            raise StackError(f"{service.name} (pid {process.pid}) belongs to another user") from error
        if _gone(process, _STOP_SECONDS):
            return
    raise StackError(f"{service.name} (pid {process.pid}) does not end", str(service.log))


def _gone(process: psutil.Process, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.01)
    return False


def listener(port: int) -> str:
    """Who listens on a port, for an error message: "node (pid 12)", or "another program" when that cannot be seen."""
    try:
        for connection in psutil.net_connections("tcp"):
            is_ours = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
            if is_ours and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass
    return "another program"


def _group_of(uid: int) -> int:
    return pwd.getpwuid(uid).pw_gid


def _log_tail(service: Service) -> str:
    lines = service.log.read_text(errors="replace").splitlines()[-15:] if service.log.exists() else []
    return "\n".join([f"the end of {service.log}:", *lines])
