"""Slots are shared: what hangs in one organization never keeps real workers from another one's tasks."""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import Stack
from tests.workers.conftest import Endpoint, Lab, WorkerProcess, laboratory
from tests.workers.waiting import wait_for

CONCURRENCY = 4
HANGING = 3  # Three quarters of it.


@pytest.fixture
def labs(stack: Stack, tmp_path: Path) -> Iterator[tuple[Lab, Lab]]:
    """Give two organizations that nobody serves but the workers that the test starts."""
    name = f"share-{secrets.token_hex(5)}"
    with laboratory(stack, f"{name}-hog", tmp_path) as hog, laboratory(stack, f"{name}-quiet", tmp_path) as quiet:
        yield hog, quiet


def start(labs: tuple[Lab, Lab], number: int) -> list[WorkerProcess]:
    hog, quiet = labs
    options = ["--organization", quiet.organization, "--concurrency", str(CONCURRENCY), "--lease-seconds", "3"]
    workers = [hog.start_worker(*options, LLM_OFFLINE="1", LLM_OFFLINE_DELAY="0.1") for _ in range(number)]
    for worker in workers:
        wait_for(functools.partial(worker.lines, event="started"), 60, f"{worker.id} starts")
    return workers


def hang(hog: Lab, endpoint: Endpoint, number: int) -> None:
    """Insert tasks whose endpoint never answers, and that may take an hour."""
    endpoint.hold.set()
    agent = hog.add_api_agent(endpoint.url, timeout=3600)
    hog.sql.execute(
        "insert into public.tasks (organization_slug, user_id, agent_slug, method, prompt, timeout_seconds)"
        " select %s, %s, %s, 'process', 'Hang.', 3600 from generate_series(1, %s)",
        (hog.organization, hog.user_id, agent, number),
    )


def running(lab: Lab) -> dict[str, int]:
    """Return how many tasks of the organization each worker runs."""
    rows = lab.sql.execute(
        "select worker_id, count(*) as number from public.tasks"
        " where organization_slug = %s and status = 'in_progress' group by worker_id",
        (lab.organization,),
    )
    return {row["worker_id"]: row["number"] for row in rows}


def test_tasks_that_hang_for_an_hour_leave_another_organization_its_slots(
    labs: tuple[Lab, Lab], endpoint: Endpoint
) -> None:
    hog, quiet = labs
    workers = start(labs, 2)
    hang(hog, endpoint, 2000)
    full = {worker.id: HANGING for worker in workers}
    wait_for(lambda: running(hog) == full, 20, "the hanging tasks have what they may")
    time.sleep(0.6)  # Several polls.
    assert running(hog) == full
    agent = quiet.add_agent()
    began = time.monotonic()
    for _ in range(3):
        quiet.await_task(quiet.add_task(agent), seconds=15)
    assert time.monotonic() - began < 15
    assert running(hog) == full
    assert endpoint.peak == sum(full.values())

    # What a killed worker held counts for nobody once its lease is over, and the other one takes no more for that.
    killed, survivor = workers
    killed.kill()
    wait_for(lambda: running(hog) == {survivor.id: HANGING}, 20, "the lease of the killed worker ends")
    quiet.await_task(quiet.add_task(agent), seconds=15)
    assert running(hog) == {survivor.id: HANGING}


def test_short_tasks_of_one_organization_keep_its_share_busy_and_all_are_done(
    labs: tuple[Lab, Lab], endpoint: Endpoint
) -> None:
    hog, _ = labs
    start(labs, 1)
    endpoint.seconds = 0.05
    agent = hog.add_api_agent(endpoint.url)
    tasks = [hog.add_task(agent) for _ in range(20)]
    for task in tasks:
        hog.await_task(task, seconds=30)
    assert endpoint.peak == HANGING
