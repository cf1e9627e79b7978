"""What is left after workers, connections and services died at bad moments: everything, once."""

from __future__ import annotations

import functools
import http.client
import json
import random
import secrets
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from localstack import instance, processes, services
from localstack.instance import Instance
from localstack.paths import ROOT
from tests.stack import Stack, from_environment
from tests.workers.conftest import (
    CONCURRENCY,
    DRAIN_SECONDS,
    Crew,
    Endpoint,
    Lab,
    Row,
    WorkerProcess,
    laboratory,
    wait_for,
)


def statuses_in_trail(lab: Lab, task_id: str) -> list[tuple[str, str | None]]:
    """Return (status, error_code) of each move of a task."""
    events = lab.events(task_id, type_="status")
    return [(event["data"]["to"], event["data"].get("error_code")) for event in events]


# Workers that die ----------------------------------------------------------------------------------------------------


def test_workers_killed_at_random_leave_every_task_done_once(crew: Crew, lab: Lab) -> None:
    seed = secrets.randbits(32)
    print(f"random seed {seed}")
    dice = random.Random(seed)  # noqa: S311 - a test's dice
    agent = lab.add_agent()
    tasks = [lab.add_task(agent, f"Number {number}", max_attempts=10) for number in range(60)]
    crew.muster(3)

    def await_done(least: int) -> None:
        query = (
            "select count(*) >= %s as so_many from public.tasks where organization_slug = %s and status = 'completed'"
        )
        wait_for(
            lambda: lab.sql.execute(query, (least, lab.organization)).fetchone() == {"so_many": True},
            90,
            f"{least} tasks are done",
        )

    for threshold in sorted(dice.sample(range(2, 40), 3)):
        await_done(threshold)
        dice.choice([worker for worker in crew.workers if worker.alive and worker.lines(event="started")]).kill()
        crew.start_one()
    await_done(len(tasks))

    lab.assert_done_once(*tasks)
    endings = [status for task_id in tasks for status in lab.run_statuses(task_id)]
    assert endings.count("completed") == 60
    assert 1 <= endings.count("abandoned") == len(endings) - 60


def test_a_worker_killed_in_the_middle_of_a_task_is_replaced_and_the_task_done_once(crew: Crew, lab: Lab) -> None:
    crew.muster(2)
    agent = lab.add_agent()
    conversation = lab.add_conversation(agent)
    task_id = lab.add_task(agent, agent_conversation_id=conversation)
    wait_for(lambda: lab.streamed(task_id), 20, "the agent writes")
    killed = crew.holder(lab.task(task_id))
    killed.kill()
    crew.start_one()  # The next test finds it ready.

    task = lab.await_task(task_id)
    assert task["worker_id"] != killed.id
    assert (task["attempt"], task["error_code"]) == (2, None)
    lab.assert_done_once(task_id)
    assert lab.run_statuses(task_id) == ["abandoned", "completed"]
    assert statuses_in_trail(lab, task_id) == [
        ("pending", None),
        ("in_progress", None),
        ("pending", "worker_lost"),
        ("in_progress", None),
        ("completed", None),
    ]
    assert lab.streamed(task_id, attempt=2) == task["response"]
    assert lab.messages(conversation) == [("user", task["prompt"]), ("agent", task["response"])]


def test_a_worker_that_slept_past_its_lease_is_refused_when_it_wakes(crew: Crew, lab: Lab, endpoint: Endpoint) -> None:
    crew.muster(2)
    endpoint.hold.set()
    agent = lab.add_api_agent(endpoint.url)
    task_id = lab.add_task(agent)
    wait_for(lambda: endpoint.running == 1, 20, "the task runs")
    sleeper = crew.holder(lab.task(task_id))
    sleeper.signal(signal.SIGSTOP)
    endpoint.hold.clear()  # The answer waits for the sleeper; the next request is answered at once.
    task = lab.await_task(task_id)
    before = (task, lab.events(task_id), lab.versions(task_id), lab.runs(task_id))

    endpoint.hold.set()
    more = [lab.add_task(agent) for _ in range(len(crew.workers) * CONCURRENCY)]  # As much as all can hold.
    sleeper.signal(signal.SIGCONT)
    wait_for(lambda: sleeper.id in {lab.task(other)["worker_id"] for other in more}, 10, "the sleeper works on")
    endpoint.hold.clear()
    for other in more:
        lab.await_task(other)
    assert sleeper.lines(event="task", task_id=task_id), "it had something to say about the task, and has said it"

    assert (lab.task(task_id), lab.events(task_id), lab.versions(task_id), lab.runs(task_id)) == before
    assert task["worker_id"] != sleeper.id
    assert task["response"].startswith("# Answer 2")
    assert lab.run_statuses(task_id) == ["abandoned", "completed"]
    assert len(lab.versions(task_id)) == 1


# Workers that leave --------------------------------------------------------------------------------------------------


def test_a_worker_told_to_leave_finishes_what_it_has_and_takes_nothing_new(crew: Crew, lab: Lab) -> None:
    crew.muster(2)
    agent = lab.add_agent()
    task_id = lab.add_task(agent)
    wait_for(lambda: lab.streamed(task_id), 20, "the agent writes")
    leaver = crew.holder(lab.task(task_id))
    leaver.signal(signal.SIGTERM)
    crew.start_one()
    later = lab.add_task(agent)

    assert leaver.exit_code(DRAIN_SECONDS + 5) == 0
    task = lab.task(task_id)
    assert (task["status"], task["attempt"], task["worker_id"]) == ("completed", 1, leaver.id)
    assert lab.await_task(later)["worker_id"] != leaver.id
    lab.assert_done_once(task_id, later)
    assert (lab.run_statuses(task_id), lab.run_statuses(later)) == (["completed"], ["completed"])
    row = lab.sql.execute("select status from public.workers where id = %s", (leaver.id,)).fetchone()
    assert row == {"status": "stopped"}


def test_a_worker_out_of_time_gives_its_task_back_at_no_cost(crew: Crew, lab: Lab, endpoint: Endpoint) -> None:
    crew.muster(2)
    endpoint.hold.set()
    task_id = lab.add_task(lab.add_api_agent(endpoint.url), max_attempts=1)
    wait_for(lambda: endpoint.running == 1, 20, "the task runs")
    leaver = crew.holder(lab.task(task_id))
    leaver.signal(signal.SIGTERM)
    crew.start_one()

    assert leaver.exit_code(DRAIN_SECONDS + 5) == 0
    wait_for(lambda: len(endpoint.bodies) == 2, 10, "the other worker takes it")
    endpoint.hold.clear()
    task = lab.await_task(task_id)
    assert task["worker_id"] != leaver.id
    assert (task["attempt"], task["error_code"]) == (1, None)
    assert [(run["status"], run["worker_id"]) for run in lab.runs(task_id)] == [
        ("released", leaver.id),
        ("completed", task["worker_id"]),
    ]
    assert len(lab.versions(task_id)) == 1


# Answers that get lost -----------------------------------------------------------------------------------------------


@dataclass
class Loser:
    """A proxy that carries everything out but drops the first answer of each kind that matters."""

    target: str
    sent: list[Row] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)  # kind -> request_id

    def forward(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        connection = http.client.HTTPConnection(self.target, timeout=30)
        try:
            headers = {name: value for name, value in handler.headers.items() if name.lower() != "accept-encoding"}
            connection.request("POST", handler.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if handler.path.endswith("/exchange_work") and self._loses(json.loads(body), json.loads(content)):
            handler.close_connection = True
            return
        handler.send_response(answer.status)
        handler.send_header("Content-Type", answer.headers["Content-Type"] or "application/json")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def _loses(self, request: Row, answer: Row) -> bool:
        self.sent.append(request)
        kind = "completion" if request["report"].get("completed") else "claim" if answer["tasks"] else None
        if kind is None or kind in self.lost:
            return False
        self.lost[kind] = request["request_id"]
        return True

    def copies(self, kind: str) -> list[Row]:
        """Return every copy of the request whose first answer was lost."""
        return [request for request in self.sent if request["request_id"] == self.lost[kind]]


@contextmanager
def losing(url: str) -> Iterator[tuple[str, Loser]]:
    """Run a proxy before the gateway; give its address and what it does."""
    loser = Loser(url.removeprefix("http://"))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            loser.forward(self)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", loser
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_lost_answer_is_asked_for_again_and_acts_once(own_lab: Lab) -> None:
    agent = own_lab.add_agent()
    conversation = own_lab.add_conversation(agent)
    task_id = own_lab.add_task(agent, agent_conversation_id=conversation)
    with losing(own_lab.stack.url) as (url, loser):
        environment = {"SUPABASE_URL": url, "LLM_OFFLINE": "1", "LLM_OFFLINE_DELAY": "0.3"}
        worker = own_lab.start_worker("--once", "--lease-seconds", "20", **environment)
        assert worker.exit_code(60) == 0

    own_lab.assert_done_once(task_id)
    assert own_lab.run_statuses(task_id) == ["completed"]
    assert len(own_lab.messages(conversation)) == 2
    for kind in ("claim", "completion"):
        first, second = loser.copies(kind)
        assert first == second, f"the {kind} is sent again as it was"
    assert len(worker.lines(event="database_back")) == 2


# Services that die ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OwnStack:
    """A stack that a test may break, with a worker on it."""

    record: Instance
    lab: Lab
    worker: WorkerProcess

    def up(self) -> None:
        run_stack("up", self.record.name)

    def signal(self, service: str, number: signal.Signals) -> None:
        """Send a signal to a service and wait for its end."""
        planned = services.all_services(self.record)
        process = processes.running(planned)[service]
        process.send_signal(number)
        wait_for(lambda: service not in processes.running(planned), 10, f"{service} ends")


def run_stack(command: str, name: str, *options: str) -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "stack", command, "--name", name, *options], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def knows_the_schema(stack: Stack) -> bool:
    url = f"{stack.url}/rest/v1/rpc/stop_worker"
    return httpx.post(url, json={"worker_id": "nobody"}, headers={"apikey": stack.service_role_key}).is_success


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    name = f"chaos-{secrets.token_hex(3)}"
    try:
        run_stack("up", name)
        record = instance.require(name)
        stack = from_environment(record.environment())
        assert stack is not None
        wait_for(functools.partial(knows_the_schema, stack), 10, "PostgREST reads the schema that was just applied")
        with laboratory(stack, "chaos", tmp_path_factory.mktemp(name)) as lab:
            worker = lab.start_worker("--lease-seconds", "20", "--concurrency", "3", LLM_OFFLINE="1")
            yield OwnStack(record, lab, worker)
    finally:
        run_stack("down", name, "--delete")


@pytest.mark.parametrize(
    ("victims", "number"),
    [
        pytest.param(("postgrest", "gateway"), signal.SIGKILL, id="postgrest and the gateway are killed"),
        pytest.param(("postgres",), signal.SIGINT, id="postgres is stopped"),
    ],
)
def test_a_worker_outlives_its_services_and_loses_nothing(
    own_stack: OwnStack, victims: tuple[str, ...], number: signal.Signals
) -> None:
    lab, worker = own_stack.lab, own_stack.worker
    agent = lab.add_agent()
    tasks = [lab.add_task(agent, f"Number {position}") for position in range(5)]
    wait_for(lambda: any(lab.streamed(task_id) for task_id in tasks), 60, "an agent writes")
    outages = len(worker.lines(event="database_away"))
    for victim in victims:
        own_stack.signal(victim, number)
    wait_for(lambda: len(worker.lines(event="database_away")) > outages, 10, "the worker notices")
    own_stack.up()

    lab.sql.close()
    lab.connect()
    for task_id in tasks:
        lab.await_task(task_id, seconds=60)
    lab.assert_done_once(*tasks)
    assert [lab.run_statuses(task_id) for task_id in tasks] == [["completed"]] * len(tasks)
    assert [lab.streamed(task_id) == lab.task(task_id)["response"] for task_id in tasks] == [True] * len(tasks)
    assert worker.alive
