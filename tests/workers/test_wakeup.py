"""A worker that hears of new tasks: the listener against real Postgres, its loss and its return."""

from __future__ import annotations

import functools
import json
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from localstack import instance, processes, services
from localstack.instance import Instance
from localstack.paths import ROOT
from tests.stack import Stack, from_environment
from tests.unit.helpers import quiet_log
from tests.workers.conftest import Lab, laboratory
from tests.workers.waiting import Row, wait_for
from workers.wakeup import wake_up

BACKENDS = "select pid from pg_stat_activity where application_name = 'orchestrator-worker wake-up'"


@dataclass
class Hearer:
    """A listener as a worker has it, that counts how often it is told to look."""

    text: StringIO = field(default_factory=StringIO)
    times: int = 0
    threads: set[str] = field(default_factory=set)

    def look(self) -> None:
        self.times += 1
        self.threads.add(threading.current_thread().name)

    def lines(self, event: str) -> list[Row]:
        entries = [json.loads(line) for line in self.text.getvalue().splitlines()]
        return [entry for entry in entries if entry["event"] == event]

    def told(self, event: str, times: int = 1) -> bool:
        return len(self.lines(event)) == times

    def more_than(self, times: int) -> bool:
        return self.times > times


@contextmanager
def hearing(url: str | None) -> Iterator[Hearer]:
    hearer = Hearer()
    with wake_up(url, hearer.look, quiet_log(hearer.text)):
        yield hearer


def hears(hearer: Hearer, lab: Lab, agent: str) -> None:
    """Fail unless a new task is heard of."""
    before = hearer.times
    lab.add_task(agent, scheduled_at="2020-01-01")
    wait_for(functools.partial(hearer.more_than, before), 10, "the new task is heard of")


def own_backends(lab: Lab) -> list[int]:
    return [row["pid"] for row in lab.sql.execute(BACKENDS)]


def test_a_new_task_is_heard_of_from_another_thread(own_lab: Lab) -> None:
    agent = own_lab.add_agent()
    with hearing(own_lab.stack.database_url) as hearer:
        wait_for(functools.partial(hearer.told, "wake_up_on"), 10, "it listens")
        wait_for(functools.partial(hearer.more_than, 0), 10, "it looks for what came before it listened")
        hears(hearer, own_lab, agent)
        assert hearer.threads == {"wake-up"}
    backends = functools.partial(own_backends, own_lab)
    wait_for(lambda: not backends(), 10, "its session ends with it")


def test_many_tasks_are_heard_of_in_few_words(own_lab: Lab) -> None:
    agent = own_lab.add_agent()
    with hearing(own_lab.stack.database_url) as hearer:
        wait_for(functools.partial(hearer.more_than, 0), 10, "it listens")
        before = hearer.times
        began = time.monotonic()
        for _ in range(50):
            own_lab.sql.execute("select pg_notify('orchestrator_tasks', '')")
        most = (time.monotonic() - began) / 0.01 + 2
        hears(hearer, own_lab, agent)
        assert hearer.times - before <= most + 1


def test_a_lost_session_is_replaced_and_missed_tasks_are_looked_for(own_lab: Lab) -> None:
    agent = own_lab.add_agent()
    with hearing(own_lab.stack.database_url) as hearer:
        wait_for(functools.partial(hearer.more_than, 0), 10, "it listens")
        (pid,) = own_backends(own_lab)
        before = hearer.times
        own_lab.sql.execute("select pg_terminate_backend(%s)", (pid,))
        wait_for(functools.partial(hearer.told, "wake_up_back"), 20, "it listens again")
        wait_for(functools.partial(hearer.more_than, before), 10, "it looks for what it missed")
        hears(hearer, own_lab, agent)
        (away,) = hearer.lines("wake_up_away")
        assert away["reason"] == "connection lost"
        assert own_backends(own_lab) != [pid]


def test_a_database_that_is_not_there_is_said_once_and_tried_again() -> None:
    password = secrets.token_hex(8)
    with hearing(f"postgresql://somebody:{password}@127.0.0.1:1/postgres") as hearer:
        wait_for(functools.partial(hearer.told, "wake_up_away"), 10, "it says that nobody is there")
        time.sleep(1)  # Several tries.
        (away,) = hearer.lines("wake_up_away")
        assert away["reason"] == "cannot connect with DATABASE_URL"
    assert hearer.times == 0
    assert password not in hearer.text.getvalue()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://postgres.ref:the-password@pooler.example.com:6543/postgres", "pooler in transaction mode"),
        ("host=db.example.com password=the-password port=6543", "pooler in transaction mode"),
        ("postgresql//the-password", "cannot be read"),
        ("postgresql://somebody:the-password@db.example.com/postgres?nothing=such", "cannot be read"),
    ],
)
def test_an_address_where_nothing_can_be_heard_is_said_and_not_tried(url: str, reason: str) -> None:
    with hearing(url) as hearer:
        assert [thread for thread in threading.enumerate() if thread.name == "wake-up"] == []
    (off,) = hearer.lines("wake_up_off")
    assert reason in off["reason"]
    assert "the-password" not in hearer.text.getvalue()


def test_without_an_address_nothing_is_said() -> None:
    with hearing(None) as hearer:
        pass
    assert hearer.text.getvalue() == ""


def test_a_worker_without_the_package_says_what_to_install_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "psycopg.py").write_text("raise ImportError('no pq wrapper available')")
    program = (
        "from workers.logs import build_logger; from workers.wakeup import wake_up\n"
        "with wake_up('postgresql://x', print, build_logger('json', 'INFO')): print('at work')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )
    assert done.stdout == "at work\n"
    assert "pip install -e '.[listen]'" in done.stderr


# Worker processes ----------------------------------------------------------------------------------------------------


def test_an_idle_worker_takes_a_new_task_without_waiting_for_its_poll(own_lab: Lab) -> None:
    agent = own_lab.add_agent()
    url = own_lab.stack.database_url
    worker = own_lab.start_worker("--poll-interval", "60", LLM_OFFLINE="1", LLM_OFFLINE_DELAY="0", DATABASE_URL=url)
    wait_for(lambda: worker.lines(event="wake_up_on"), 60, "the worker listens")
    for _ in range(3):
        own_lab.await_task(own_lab.add_task(agent), seconds=20)
    (pid,) = own_backends(own_lab)
    own_lab.sql.execute("select pg_terminate_backend(%s)", (pid,))
    wait_for(lambda: worker.lines(event="wake_up_back"), 20, "the worker listens again")
    own_lab.await_task(own_lab.add_task(agent), seconds=20)
    worker.signal(signal.SIGTERM)
    assert worker.exit_code(20) == 0
    log = worker.log.read_text()
    assert url not in log
    assert (urlsplit(url).password or "?") not in log
    assert own_backends(own_lab) == []


def test_a_worker_that_cannot_listen_works_all_the_same(own_lab: Lab) -> None:
    agent = own_lab.add_agent()
    url = "postgresql://nobody:wrong@127.0.0.1:1/postgres"
    worker = own_lab.start_worker(LLM_OFFLINE="1", LLM_OFFLINE_DELAY="0", DATABASE_URL=url)
    own_lab.await_task(own_lab.add_task(agent), seconds=60)
    assert len(worker.lines(event="wake_up_away")) == 1


def stack_command(command: str, name: str, *options: str) -> None:
    script = str(ROOT / "scripts" / "stack")
    done = subprocess.run([script, command, "--name", name, *options], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def breakable(tmp_path: Path) -> Iterator[tuple[Instance, Lab]]:
    """Give a stack that the test may stop, with an organization on it."""
    name = f"wake-{secrets.token_hex(3)}"
    try:
        stack_command("up", name)
        record = instance.require(name)
        stack = from_environment(record.environment())
        assert isinstance(stack, Stack)
        with laboratory(stack, "wake", tmp_path) as lab:
            yield record, lab
    finally:
        stack_command("down", name, "--delete")


def test_a_listener_outlives_postgres(breakable: tuple[Instance, Lab]) -> None:
    record, lab = breakable
    agent = lab.add_agent()
    with hearing(lab.stack.database_url) as hearer:
        wait_for(functools.partial(hearer.more_than, 0), 10, "it listens")
        planned = services.all_services(record)
        processes.running(planned)["postgres"].send_signal(signal.SIGINT)
        wait_for(functools.partial(hearer.told, "wake_up_away"), 10, "it notices")
        wait_for(lambda: "postgres" not in processes.running(planned), 10, "Postgres ends")
        stack_command("up", record.name)
        wait_for(functools.partial(hearer.told, "wake_up_back"), 60, "it listens again")
        lab.sql.close()
        lab.connect()
        hears(hearer, lab, agent)
