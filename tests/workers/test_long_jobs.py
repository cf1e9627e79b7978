"""Api agents whose endpoint answers 202 and reports later: real workers, a real endpoint, the real RPC."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from tests.workers.conftest import LEASE_SECONDS, Crew, Lab
from tests.workers.waiting import Row, wait_for

PAGE = (Path(__file__).parents[2] / "docs/api-agents.md").read_text()
PRIVATE = {"ORCHESTRATOR_ALLOW_PRIVATE_HOSTS": "1"}


@dataclass
class Remote:
    """An endpoint that takes jobs on, and reports when a test tells it to."""

    url: str
    status: int = 202
    jobs: list[Row] = field(default_factory=list)

    def job(self, number: int = 0) -> Row:
        wait_for(lambda: len(self.jobs) > number, 30, f"job {number} arrives")
        return self.jobs[number]

    def report(self, job: Row, status: str, **more: Any) -> httpx.Response:
        """Report as docs/api-agents.md says."""
        webhook = job["status_webhook"]
        body = json.dumps({"webhook_id": webhook["id"], "status": status, **more})
        report, now = str(uuid.uuid4()), datetime.now(UTC)
        headers = {
            "Content-Type": "application/json",
            "apikey": webhook["apikey"],
            "webhook-id": report,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(webhook["secret"]).sign(report, now, body),
        }
        return httpx.post(webhook["url"], content=body, headers=headers)


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def remote() -> Iterator[Remote]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.jobs.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            body = b'{"content": "at once"}'
            self.send_response(found.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
            """Say nothing: a test looks at the jobs."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Remote(f"http://127.0.0.1:{server.server_port}/jobs")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def at_work(crew: Crew, lab: Lab) -> Lab:
    crew.muster(1)
    return lab


def test_a_job_reports_its_progress_and_its_result(at_work: Lab, remote: Remote) -> None:
    agent = at_work.add_api_agent(
        remote.url,
        status_webhook=True,
        request_transform={"text": "{{ task.prompt }}", "status_webhook": "{{ status_webhook }}"},
        response_transform="{content: .report.text}",
    )
    task_id = at_work.add_task(agent)
    job = remote.job()
    assert job["text"] == "Write a post about tide pools"
    assert set(job["status_webhook"]) == {"url", "apikey", "id", "secret", "expires_at"}
    assert remote.report(job, "progress", progress=40, message="Reading").json() == {"accepted": True}
    wait_for(lambda: at_work.task(task_id)["progress"] == 40, 10, "the progress arrives")
    assert at_work.task(task_id)["progress_message"] == "Reading"
    assert remote.report(job, "completed", result={"report": {"text": "Low tide."}}).is_success
    task = at_work.await_task(task_id)
    assert (task["response"], task["attempt"], len(remote.jobs)) == ("Low tide.", 1, 1)
    assert task["response_metadata"]["endpoint"] == {"reported": True}
    (version,) = at_work.versions(task_id)
    assert "Low tide." in version["content"]
    assert "Reading" in {event["message"] for event in at_work.events(task_id)}
    late = remote.report(job, "completed", result="again")
    assert (late.status_code, late.json()["message"]) == (409, "status_webhook_closed")


def test_a_job_that_fails_says_why(at_work: Lab, remote: Remote) -> None:
    task_id = at_work.add_task(at_work.add_api_agent(remote.url, status_webhook=True))
    assert remote.report(remote.job(), "failed", message="There is no paper").is_success
    task = at_work.await_task(task_id, "failed")
    assert (task["error_code"], task["attempt"]) == ("endpoint_error", 1)
    assert "There is no paper" in task["error_message"]


def test_a_failure_worth_repeating_calls_again_with_another_webhook(at_work: Lab, remote: Remote) -> None:
    agent = at_work.add_api_agent(remote.url, status_webhook=True)
    task_id = at_work.add_task(agent, backoff="0 seconds")
    assert remote.report(remote.job(), "failed", message="Busy", retryable=True).is_success
    second = remote.job(1)
    assert remote.report(remote.job(0), "completed", result="late").status_code == 401
    assert remote.report(second, "completed", result="second").is_success
    assert at_work.await_task(task_id)["response"] == "second"


def test_an_endpoint_may_answer_at_once_all_the_same(at_work: Lab, remote: Remote) -> None:
    remote.status = 200
    task_id = at_work.add_task(at_work.add_api_agent(remote.url, status_webhook=True))
    assert at_work.await_task(task_id)["response"] == "at once"
    assert remote.report(remote.job(), "completed", result="late").status_code == 409


def test_a_job_that_reports_nothing_ends_with_its_time(at_work: Lab, remote: Remote) -> None:
    agent = at_work.add_api_agent(remote.url, status_webhook={"ttl_seconds": 1})
    task = at_work.await_task(at_work.add_task(agent, max_attempts=1), "timeout")
    assert "did not report" in task["error_message"]
    assert remote.report(remote.job(), "completed", result="late").status_code == 409


def test_a_task_that_is_cancelled_while_it_waits_is_over(at_work: Lab, remote: Remote) -> None:
    task_id = at_work.add_task(at_work.add_api_agent(remote.url, status_webhook=True))
    job = remote.job()
    at_work.post("rpc/cancel_task", task_id=task_id)
    refused = remote.report(job, "completed", result="late")
    assert (refused.status_code, refused.json()["message"]) == (409, "status_webhook_closed")
    assert at_work.task(task_id)["status"] == "cancelled"


def test_the_example_of_the_page_works(at_work: Lab, tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    (tmp_path / "counter.py").write_text(program)
    (written,) = re.findall(r'"endpoint": (\{.*?\})\}\'', PAGE, flags=re.DOTALL)
    endpoint = json.loads(written)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen([sys.executable, "counter.py", str(port)], cwd=tmp_path, stderr=subprocess.DEVNULL) as remote:
        try:
            wait_for(lambda: listens(port), 20, "the example listens")
            agent = at_work.add_api_agent(**{**endpoint, "url": f"http://127.0.0.1:{port}/"})
            task_id = at_work.add_task(agent, "one two three")
            assert at_work.await_task(task_id)["response"] == "3 words"
            assert "Counting" in {event["message"] for event in at_work.events(task_id)}
        finally:
            remote.kill()


def test_a_job_outlives_the_worker_that_began_it_and_is_not_begun_again(own_lab: Lab, remote: Remote) -> None:
    options = ("--lease-seconds", str(LEASE_SECONDS))
    first = own_lab.start_worker(*options, **PRIVATE)
    task_id = own_lab.add_task(own_lab.add_api_agent(remote.url, status_webhook=True))
    job = remote.job()
    assert remote.report(job, "progress", progress=20).is_success
    first.kill()
    # Nobody holds the task when the job ends.
    assert remote.report(job, "completed", result={"content": "Done meanwhile."}).is_success
    own_lab.start_worker(*options, **PRIVATE)
    task = own_lab.await_task(task_id, seconds=60)
    assert (task["response"], task["attempt"], len(remote.jobs)) == ("Done meanwhile.", 2, 1)
    assert own_lab.run_statuses(task_id) == ["abandoned", "completed"]


def test_the_next_worker_waits_for_the_job_that_the_last_one_began(own_lab: Lab, remote: Remote) -> None:
    options = ("--lease-seconds", str(LEASE_SECONDS))
    first = own_lab.start_worker(*options, DRAIN_SECONDS="0", **PRIVATE)
    task_id = own_lab.add_task(own_lab.add_api_agent(remote.url, status_webhook=True))
    job = remote.job()
    assert remote.report(job, "progress", progress=20).is_success
    first.process.terminate()
    first.exit_code(20)
    own_lab.start_worker(*options, **PRIVATE)
    wait_for(lambda: own_lab.task(task_id)["status"] == "in_progress", 60, "the next worker takes it")
    assert remote.report(job, "completed", result="Still here.").is_success
    task = own_lab.await_task(task_id)
    assert (task["response"], task["attempt"], len(remote.jobs)) == ("Still here.", 1, 1)
