"""An organization's own worker: a process with nothing but the token of `python -m workers token`."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.stack import Stack
from tests.workers.conftest import Endpoint, Lab, WorkerProcess, laboratory
from tests.workers.waiting import wait_for
from workers import token_command
from workers.errors import BackendRefused, BackendRejected, SettingsError
from workers.scoped import WorkerToken, connect

OFFLINE = {"LLM_OFFLINE": "1", "LLM_OFFLINE_DELAY": "0.1"}
Start = Callable[..., WorkerProcess]


def settings(stack: Stack, secret: str = "") -> dict[str, str]:
    return {
        "SUPABASE_URL": stack.url,
        "SUPABASE_JWT_SECRET": secret or stack.jwt_secret,
        "SUPABASE_SERVICE_ROLE_KEY": stack.service_role_key,
    }


def make_token(stack: Stack, file: Path, organization: str, minutes: int = 60, secret: str = "") -> str:
    """Do what the operator's command does, and return the token."""
    arguments = argparse.Namespace(organization=organization, minutes=minutes, name="ours", output=file)
    asyncio.run(token_command.run(arguments, settings(stack, secret)))
    return file.read_text().strip()


@pytest.fixture
def token(stack: Stack, own_lab: Lab, tmp_path: Path) -> str:
    return make_token(stack, tmp_path / "token", own_lab.organization)


@pytest.fixture
def start(stack: Stack, own_lab: Lab, tmp_path: Path) -> Start:
    """Starts a worker without the service key."""

    def begin(*options: str, **environment: str) -> WorkerProcess:
        given = {"SUPABASE_SERVICE_ROLE_KEY": "", **OFFLINE, **environment}
        worker = WorkerProcess(stack, tmp_path, options, given)
        own_lab.own_workers.append(worker)
        return worker

    return begin


@pytest.fixture
def other_lab(stack: Stack, tmp_path: Path) -> Iterator[Lab]:
    with laboratory(stack, f"other-{os.urandom(4).hex()}", tmp_path) as lab:
        yield lab


def test_a_worker_with_only_a_token_runs_its_organizations_tasks_and_no_others(
    own_lab: Lab, other_lab: Lab, endpoint: Endpoint, start: Start, token: str
) -> None:
    foreign = other_lab.add_task(other_lab.add_agent())
    writer = own_lab.add_agent()
    conversation = own_lab.add_conversation(writer)
    written = own_lab.add_task(writer, agent_conversation_id=conversation)
    secret = own_lab.add_api_agent(endpoint.url, headers={"X-Key": "${OUR_KEY}"})
    called = own_lab.add_task(secret)
    worker = start("--once", WORKER_TOKEN=token, ORGANIZATION_SECRET_OUR_KEY="from-our-own-environment")
    own_lab.await_task(written, seconds=90)
    own_lab.await_task(called)
    assert worker.exit_code(30) == 0, worker.log.read_text()
    own_lab.assert_done_once(written)
    assert own_lab.run_statuses(called) == ["completed"]
    assert endpoint.headers[-1]["X-Key"] == "from-our-own-environment"
    assert other_lab.task(foreign)["status"] == "pending"
    assert own_lab.task(written)["worker_id"] == f"{own_lab.organization}:{worker.id}"
    assert [sender for sender, _ in own_lab.messages(conversation)][-1] == "agent"
    row = own_lab.sql.execute("select * from public.workers where id = %s", (f"{own_lab.organization}:{worker.id}",))
    found = row.fetchone()
    assert found is not None
    assert (found["status"], found["organizations"]) == ("stopped", [own_lab.organization])
    text = worker.log.read_text()
    assert token not in text
    assert "from-our-own-environment" not in text


def test_a_token_in_a_file_is_renewed_without_losing_what_runs(
    own_lab: Lab, endpoint: Endpoint, start: Start, stack: Stack, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    make_token(stack, file, own_lab.organization)
    assert file.stat().st_mode & 0o077 == 0
    endpoint.hold.set()
    task = own_lab.add_task(own_lab.add_api_agent(endpoint.url))
    worker = start("--lease-seconds", "30", WORKER_TOKEN_FILE=str(file))
    own_lab.await_task(task, "in_progress", seconds=90)
    revoke = "update public.worker_tokens set revoked_at = now() where organization_slug = %s"
    own_lab.sql.execute(revoke, (own_lab.organization,))
    (line,) = wait_for(partial(worker.lines, event="database_away"), 20, "the worker is refused")
    assert "was revoked" in line["error"]
    assert "WORKER_TOKEN_FILE: waiting for a new one in that file" in line["error"]
    make_token(stack, file, own_lab.organization)
    wait_for(partial(worker.lines, event="database_back"), 20, "the worker reads the new token")
    endpoint.hold.clear()
    own_lab.await_task(task)
    assert own_lab.run_statuses(task) == ["completed"]
    worker.signal(signal.SIGTERM)
    assert worker.exit_code(20) == 0


def test_a_worker_whose_token_ends_says_so_and_stops(own_lab: Lab, start: Start, token: str) -> None:
    worker = start(WORKER_TOKEN=token)
    known = "select from public.workers where id = %s"
    wait_for(
        lambda: own_lab.sql.execute(known, (f"{own_lab.organization}:{worker.id}",)).fetchone() is not None,
        90,
        "the worker registers",
    )
    own_lab.sql.execute(
        "update public.worker_tokens set revoked_at = now() where organization_slug = %s", (own_lab.organization,)
    )
    assert worker.exit_code(20) == 1
    (line,) = worker.lines(event="stopped")
    assert "was revoked" in line["error"]
    assert "start the worker again with a new one" in line["error"]


def test_a_worker_without_its_token_says_what_is_missing(start: Start) -> None:
    worker = start(WORKER_TOKEN_FILE="missing")
    assert worker.exit_code(60) == 2
    assert "WORKER_TOKEN_FILE names a file that cannot be read" in worker.log.read_text()


def test_the_operators_command_prints_a_token_and_nothing_else(stack: Stack, own_lab: Lab) -> None:
    command = [sys.executable, "-m", "workers", "token", "--organization", own_lab.organization]
    environment = {"PATH": os.environ["PATH"], **settings(stack)}
    made = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (made.returncode, made.stderr) == (0, "")
    assert WorkerToken(made.stdout).organization == own_lab.organization


def test_the_operators_command_says_what_is_wrong(stack: Stack, own_lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "token"
    with pytest.raises(BackendRejected, match="organization_not_found"):
        make_token(stack, file, "no-such-organization")
    with pytest.raises(BackendRejected, match="minutes_out_of_range"):
        make_token(stack, file, own_lab.organization, minutes=100_000)
    with pytest.raises(SettingsError, match="SUPABASE_JWT_SECRET has less than 32 characters"):
        make_token(stack, file, own_lab.organization, secret="short")
    assert not file.exists()
    with pytest.raises(SettingsError, match="--output cannot be written"):
        make_token(stack, tmp_path / "no" / "such" / "folder", own_lab.organization)


async def test_the_helper_gives_a_client_scoped_to_the_organization(own_lab: Lab, stack: Stack, token: str) -> None:
    task = own_lab.add_task(own_lab.add_agent())
    async with connect(stack.url, stack.anon_key, token) as database:
        (lease,) = await database.call("claim_tasks", {"worker_id": "mine"})
        assert lease["task"]["id"] == task
        item = {"task_id": task, "attempt": 1, "lease_token": lease["lease_token"], "response": "By hand."}
        (outcome,) = await database.call("complete_tasks", {"worker_id": "mine", "items": [item]})
        assert outcome["outcome"] == "ok"
    async with connect(stack.url, stack.anon_key, token[:-4] + "AAAA") as database:
        with pytest.raises(BackendRefused, match="WORKER_TOKEN"):
            await database.call("claim_tasks", {"worker_id": "mine"})
