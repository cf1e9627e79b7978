"""Postgres and PostgREST that die, lose their connections or have none to give, while workers are at work."""

from __future__ import annotations

import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import psycopg
import pytest

from localstack import instance, processes, services
from localstack.instance import Instance
from localstack.paths import ROOT
from localstack.processes import Service
from tests.stack import Stack, from_environment
from tests.workers.chaos_invariants import assert_whole, count_runs
from tests.workers.chaos_kit import Errand, Fleet, Ground, laid_out
from tests.workers.chaos_worker import Script
from tests.workers.waiting import wait_for

WORKERS = 3
TASKS = 60
MORE_TASKS = 20  # Added when the trouble is over.
NO_CONNECTION = 504  # PostgREST's PGRST003: none was free in time.
POOL = 2  # Connections of a PostgREST that is to run out of them.


@dataclass(frozen=True)
class OwnStack:
    """A stack with ordinary durability that a test may break."""

    record: Instance
    stack: Stack
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def up(self) -> None:
        """Start what is missing."""
        run_stack("up", self.record.name)
        wait_for(self._knows_the_schema, 20, "PostgREST has read the schema")

    def service(self, name: str) -> Service:
        return next(service for service in services.all_services(self.record) if service.name == name)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a service and wait for its end."""
        service = self.service(name)
        processes.running([service])[name].send_signal(number)
        wait_for(lambda: name not in processes.running([service]), 10, f"{name} ends")
        self.reap()

    def start_postgrest(self, **settings: str) -> None:
        """Start PostgREST alone, with other settings."""
        service = replace(self.service("postgrest"), environment=settings)
        child = processes.start(service)
        self.children.append(child)
        processes.wait_until_healthy(service, child)
        wait_for(self._knows_the_schema, 20, "PostgREST has read the schema")

    def reap(self) -> None:
        """Forget the children that have ended."""
        self.children[:] = [child for child in self.children if child.poll() is None]

    def superuser(self) -> psycopg.Connection[tuple[int]]:
        return psycopg.connect(self.record.database_url("supabase_admin"), autocommit=True)

    def cut_connections(self, times: int = 1) -> int:
        """Terminate every connection that PostgREST has, every 100 ms; return how many that were."""
        query = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'authenticator'"
        cut = 0
        with self.superuser() as admin:
            for _ in range(times):
                cut += len(admin.execute(query).fetchall())
                time.sleep(0.1)
        return cut

    def _knows_the_schema(self) -> bool:
        headers = {"apikey": self.stack.service_role_key}
        try:
            return httpx.post(
                f"{self.stack.url}/rest/v1/rpc/stop_worker", json={"worker_id": "nobody"}, headers=headers
            ).is_success
        except httpx.HTTPError:
            return False


def run_stack(command: str, name: str, *options: str) -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "stack", command, "--name", name, *options], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def own() -> Iterator[OwnStack]:
    name = f"chaos-{secrets.token_hex(3)}"
    try:
        run_stack("up", name)
        record = instance.require(name)
        stack = from_environment(record.environment())
        assert stack is not None
        own = OwnStack(record, stack)
        own.up()
        yield own
    finally:
        run_stack("down", name, "--delete")
    own.reap()
    assert own.children == []


@pytest.fixture
def ground(own: OwnStack) -> Iterator[Ground]:
    with laid_out(own.stack, organizations=2) as ground:
        yield ground


@pytest.fixture
def fleet(own: OwnStack, ground: Ground, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(own.stack, tmp_path, ground.organizations)
    yield fleet
    fleet.close()


# What happens --------------------------------------------------------------------------------------------------------


def cut_connections_again_and_again(own: OwnStack) -> None:
    assert own.cut_connections(times=20) >= 10


def stop_postgres(own: OwnStack) -> None:
    own.signal("postgres", signal.SIGINT)
    own.up()


def crash_postgres(own: OwnStack) -> None:
    own.signal("postgres", signal.SIGQUIT)  # Nothing is flushed: the next start recovers from the log.
    own.up()


def kill_postgrest_and_the_gateway(own: OwnStack) -> None:
    own.signal("postgrest", signal.SIGKILL)
    time.sleep(0.2)
    own.start_postgrest()
    time.sleep(0.3)
    own.signal("postgrest", signal.SIGKILL)
    own.signal("gateway", signal.SIGKILL)
    own.up()


def use_up_the_pool(own: OwnStack) -> None:
    """Let other clients wait in the database on all of PostgREST's connections, twice as long as one waits for one."""
    own.signal("postgrest", signal.SIGKILL)
    own.start_postgrest(PGRST_DB_POOL=str(POOL), PGRST_DB_POOL_ACQUISITION_TIMEOUT="1")
    headers = {"apikey": own.stack.service_role_key}
    url = f"{own.stack.url}/rest/v1"

    def occupy() -> None:
        # The workers too wait for a connection; who has one keeps it.
        body = {"worker_id": "occupied"}
        while (
            httpx.post(f"{url}/rpc/register_worker", json=body, headers=headers, timeout=20).status_code
            == NO_CONNECTION
        ):
            pass

    def none_is_left() -> bool:
        return httpx.get(f"{url}/workers?limit=1", headers=headers, timeout=20).status_code == NO_CONNECTION

    others = [threading.Thread(target=occupy) for _ in range(POOL)]
    with own.superuser() as admin, admin.transaction(force_rollback=True):
        admin.execute("insert into public.workers (id) values ('occupied')")
        for thread in others:
            thread.start()
        wait_for(none_is_left, 10, "all connections are taken")
        time.sleep(1.5)
    for thread in others:
        thread.join(20)
    own.signal("postgrest", signal.SIGKILL)
    own.start_postgrest()


def refuse_connections(own: OwnStack) -> None:
    """Let Postgres have no connection left for PostgREST, for a while: too_many_connections (53300) is all it hears."""
    with own.superuser() as admin:
        admin.execute("alter role authenticator connection limit 0")
        try:
            own.cut_connections(times=15)
        finally:
            admin.execute("alter role authenticator connection limit -1")


@contextmanager
def at_work(ground: Ground, fleet: Fleet) -> Iterator[None]:
    """Add tasks, and begin when some are done and more are under way; afterwards wait until all are over."""
    for _ in range(WORKERS):
        fleet.start(lease_seconds=5, request_timeout=10.0)
    errands = [
        Errand(
            Script(ms=100 + 30 * (number % 20), fails=int(number % 7 == 0)), number % 2, number % Ground.CONVERSATIONS
        )
        for number in range(TASKS)
    ]
    ground.add(*errands)
    wait_for(lambda: ground.open_tasks() < 0.95 * TASKS, 20, "the workers are at work")
    yield
    ground.reconnect()
    ground.add(*[Errand(Script(ms=20))] * MORE_TASKS)
    ground.await_all_final(60)


@pytest.mark.parametrize(
    "happens",
    [
        pytest.param(cut_connections_again_and_again, id="connections are cut every 100 ms"),
        pytest.param(stop_postgres, id="postgres is stopped and started"),
        pytest.param(crash_postgres, id="postgres crashes and recovers"),
        pytest.param(kill_postgrest_and_the_gateway, id="postgrest and the gateway are killed and started"),
        pytest.param(use_up_the_pool, id="the connection pool is used up"),
        pytest.param(refuse_connections, id="postgres has no connection left"),
    ],
)
def test_workers_go_on_after_trouble_with_the_database_and_everything_is_done_once(
    own: OwnStack, ground: Ground, fleet: Fleet, happens: Callable[[OwnStack], None]
) -> None:
    with at_work(ground, fleet):
        happens(own)

    assert len(fleet.alive) == WORKERS
    fleet.drain()
    assert_whole(ground.sql, ground.organizations)
    runs = count_runs(ground.sql, ground.organizations)
    assert runs["completed"] == TASKS + MORE_TASKS
    assert [line for worker in fleet.workers for line in worker.lines(event="database_away")], "the trouble was trouble"
