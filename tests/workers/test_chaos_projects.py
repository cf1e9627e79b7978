"""A large project whose workers are killed all the time ends as if nobody had been, and no step is completed twice.

Every step answers with a digest of its prompt, and its prompt holds the answers of those it depends on: one wrong,
lost or early answer changes the last one.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from pathlib import Path

from tests.stack import Stack
from tests.workers.chaos_kit import Fleet, Ground, dice
from tests.workers.waiting import Row

STEPS = int(os.environ.get("ORCHESTRATOR_CHAOS_STEPS", "500"))
WIDTH = 50  # How many steps depend on none of each other, at most.
STEPS_PER_KILL = 12
WORKERS = 4
CONCURRENCY = 6
LEASE_SECONDS = 1
TOLERABLE_SECONDS = 240  # Many times what it takes on two quiet cores.


def draw_steps(rng: random.Random, agent: str) -> list[Row]:
    """Draw a plan in layers of at most WIDTH steps, each of which needs one to three of the two layers before."""
    layers: list[list[str]] = []
    steps: list[Row] = []
    while len(steps) < STEPS:
        before = [name for layer in layers[-2:] for name in layer]
        layer = [f"s{len(steps) + n}" for n in range(min(rng.randint(WIDTH // 2, WIDTH), STEPS - len(steps)))]
        for name in layer:
            needs = sorted(rng.sample(before, min(len(before), rng.randint(1, 3))))
            prompt = " ".join([name, *(f"{{{{ steps.{n}.result }}}}" for n in needs)])
            steps.append({"id": name, "agent": agent, "dependencies": needs, "prompt": prompt, "max_attempts": 50})
        layers.append(layer)
    rng.shuffle(steps)
    return steps


def digest(prompt: str) -> str:
    return "d" + hashlib.sha256(prompt.encode()).hexdigest()[:16]


def undisturbed(steps: list[Row]) -> dict[str, str]:
    """Work out what every step answers when nothing goes wrong."""
    by_id = {step["id"]: step for step in steps}
    answers: dict[str, str] = {}
    for name in sorted(by_id, key=lambda n: int(n[1:])):
        answers[name] = digest(" ".join([name, *(answers[d] for d in by_id[name]["dependencies"])]))
    return answers


def begin(ground: Ground, steps: list[Row]) -> str:
    """Add the project in the state running, and return its id."""
    (slug,) = ground.organizations
    (row,) = ground.rows(
        "insert into public.projects (organization_slug, user_id, conversation_id, plan_json, status)"
        " values (%s, %s, %s, %s, 'running') returning id",
        slug,
        ground.user_id,
        ground.conversations[slug][0],
        json.dumps({"steps": steps}),
    )
    return str(row["id"])


def rage(rng: random.Random, ground: Ground, fleet: Fleet, project_id: str) -> int:
    """Keep workers at work and kill one every few steps until the project is over; return how many died."""
    kills, deadline = 0, time.monotonic() + TOLERABLE_SECONDS
    while True:
        (project,) = ground.rows("select status, finished_steps from public.projects where id = %s", project_id)
        if project["status"] != "running":
            assert project["status"] == "completed"
            return kills
        assert time.monotonic() < deadline, f"after {TOLERABLE_SECONDS} seconds: {project}"
        for _ in range(WORKERS - len(fleet.alive)):
            fleet.start(concurrency=CONCURRENCY, lease_seconds=LEASE_SECONDS)
        if project["finished_steps"] >= kills * STEPS_PER_KILL:
            rng.choice(fleet.alive).kill()
            kills += 1
        time.sleep(rng.uniform(0.01, 0.06))


def test_a_project_whose_workers_are_killed_ends_as_an_undisturbed_one(
    stack: Stack, ground: Ground, tmp_path: Path
) -> None:
    rng = dice()
    steps = draw_steps(rng, ground.organizations[0])
    project_id = begin(ground, steps)
    fleet = Fleet(stack, tmp_path, ground.organizations)
    try:
        kills = rage(rng, ground, fleet, project_id)
        fleet.drain()
    finally:
        fleet.close()

    rows = ground.rows(
        "select s.step_id, s.status, t.response,"
        " (select count(*) from public.tasks x where x.project_step_id = s.id) as tasks,"
        " (select count(*) from public.runs r where r.task_id = t.id and r.status = 'completed') as completed_runs,"
        " (select count(*) from public.runs r where r.task_id = t.id) as runs"
        " from public.project_steps s join public.tasks t on t.id = s.task_id where s.project_id = %s",
        project_id,
    )
    print(f"{kills} kills, {sum(row['runs'] for row in rows)} runs of {len(rows)} steps")
    assert {row["step_id"]: row["response"] for row in rows} == undisturbed(steps)
    assert {(row["status"], row["tasks"], row["completed_runs"]) for row in rows} == {("completed", 1, 1)}
    assert kills >= STEPS // STEPS_PER_KILL // 2  # On a busy machine more steps end between two looks.
    assert sum(row["runs"] for row in rows) > STEPS, "nobody died at work"
