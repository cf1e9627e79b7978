"""Projects under many hands at once: every step starts exactly once, and nobody waits in a circle."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.database.kit import Row, Session, Tenant, Worker, World, in_parallel, item
from tests.database.pauses import reap
from tests.database.project_kit import (
    Project,
    agent_step,
    finish,
    nothing_left,
    started,
)


def holders(world: World, number: int) -> list[Worker]:
    return [world.worker() for _ in range(number)]


def complete_at_once(world: World, pairs: list[tuple[Worker, list[Row]]]) -> list[Any]:
    """Let each worker report its leases in an exchange of its own, all in the same moment."""
    todo = {worker.session.id or str(n): (worker, leases) for n, (worker, leases) in enumerate(pairs)}
    names = iter(list(todo))
    lock = threading.Lock()

    def act(session: Session) -> Any:
        with lock:
            worker, leases = todo[next(names)]
        report = {"completed": [item(lease, response="done.") for lease in leases]}
        return worker.on(session).exchange(report=report, max_tasks=0)

    return in_parallel([world.service] * len(pairs), act)


@pytest.mark.parametrize("at_once", [2, 5])
def test_the_last_predecessors_end_at_once_and_the_step_starts_once(world: World, tenant: Tenant, at_once: int) -> None:
    for _ in range(5):
        names = [f"p{n}" for n in range(at_once)]
        project = started(tenant, [*(agent_step(tenant, n) for n in names), agent_step(tenant, "last", *names)])
        workers = holders(world, at_once)
        pairs = [(worker, worker.claim(tenant, 1)) for worker in workers]
        answers = complete_at_once(world, pairs)
        assert [a["outcomes"][0]["outcome"] for a in answers] == ["ok"] * at_once
        # Whoever found the project held has left a note, which the next exchange takes up.
        (task,) = worker_round(world, tenant)
        assert task["task"]["metadata"]["step_id"] == "last"
        assert len(project.tasks("last")) == 1
        workers[0].exchange(max_tasks=0)
        project.do("cancel")


def worker_round(world: World, tenant: Tenant) -> list[Row]:
    """Claim by one exchange."""
    tasks: list[Row] = world.worker().exchange(max_tasks=100, organizations=[tenant.slug])["tasks"]
    return tasks


def test_what_finds_its_project_held_waits_for_nobody_and_is_taken_up(
    world: World, tenant: Tenant, worker: Worker
) -> None:
    project = started(tenant, [agent_step(tenant, "a"), agent_step(tenant, "b", "a")])
    lease = worker.claim_one(tenant)
    with world.admin.fresh() as other, other.transaction() as connection:
        connection.execute("select from public.projects where id = %s for update", [project.id])
        answer = worker.exchange(
            report={"completed": [item(lease, response="x")]}, max_tasks=5, organizations=[tenant.slug]
        )
        assert (answer["outcomes"][0]["outcome"], answer["tasks"]) == ("ok", [])
        assert answer["next_poll_ms"] == 100, "there will be work in a moment"
        assert project.states() == {"a": "in_progress", "b": "pending"}
    answer = worker.exchange(max_tasks=5, organizations=[tenant.slug])
    assert [t["task"]["prompt"] for t in answer["tasks"]] == ["b"]
    assert project.states() == {"a": "completed", "b": "in_progress"}


def test_the_reaper_takes_up_what_nobody_claimed_for(world: World, tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, [agent_step(tenant, "a"), agent_step(tenant, "b", "a")])
    lease = worker.claim_one(tenant)
    with world.admin.fresh() as other, other.transaction() as connection:
        connection.execute("select from public.projects where id = %s for update", [project.id])
        finish(worker, lease)
    assert project.states()["b"] == "pending"
    reap(worker)
    assert project.states()["b"] == "ready"


def test_exchanges_that_end_steps_of_many_projects_never_deadlock(world: World, tenant: Tenant) -> None:
    shuffled = random.Random(3)  # noqa: S311
    projects = [
        started(tenant, [agent_step(tenant, n) for n in "abcd"] + [agent_step(tenant, "end", *"abcd")])
        for _ in range(8)
    ]
    workers = holders(world, 4)
    leases: list[list[Row]] = [worker.claim(tenant, 8) for worker in workers]
    for some in leases:
        shuffled.shuffle(some)

    def act(number: int) -> list[str]:
        """Report one by one within a single transaction, so that each holds one project and wants the next."""
        found = []
        with world.service.fresh() as own:
            for lease in leases[number][:2]:
                found.append(workers[number].on(own).complete(lease))
            with own.transaction() as connection:
                for lease in leases[number][2:]:
                    query = "select public.complete_tasks(%s, %s) as outcomes"
                    body = psycopg.types.json.Jsonb([item(lease, response="x")])
                    row = connection.execute(query, [workers[number].id, body]).fetchone()
                    found.append(str(row and row["outcomes"][0]["outcome"]))
                    time.sleep(0.01)
        return found

    with ThreadPoolExecutor(4) as pool:
        outcomes = [o for found in pool.map(act, range(4)) for o in found]
    assert outcomes == ["ok"] * 32
    worker = world.worker()
    while tasks := worker.exchange(max_tasks=100, organizations=[tenant.slug])["tasks"]:
        for lease in tasks:
            finish(worker, lease)
    assert {project.status for project in projects} == {"completed"}
    assert {len(project.tasks("end")) for project in projects} == {1}


def random_plan(tenant: Tenant, number: int, width: int, seed: int) -> list[Row]:
    chance = random.Random(seed)  # noqa: S311
    steps = []
    for n in range(number):
        before = (
            {f"s{m}" for m in (chance.randrange(max(0, n - width), n) for _ in range(chance.randrange(4))) if n}
            if n
            else set()
        )
        more: Row = {"id": f"s{n}", "dependencies": sorted(before)}
        if chance.random() < 0.1 and before:
            more |= {"type": "transform", "transform": "1"}
        elif chance.random() < 0.05 and before:
            more |= {"type": "map", "agent": tenant.agent, "over": min(before), "prompt": "{{ item }}"}
        else:
            more |= {"agent": tenant.agent, "prompt": "x"}
        steps.append(more)
    return steps


def test_many_workers_play_a_random_plan_and_each_step_runs_once(world: World, tenant: Tenant) -> None:
    project = started(tenant, random_plan(tenant, 150, 12, 5))
    plan = project.read()["plan_json"]["steps"]
    order: list[str] = []
    lock = threading.Lock()

    def run(number: int) -> list[str]:
        errors = []
        chance = random.Random(number)  # noqa: S311
        with world.service.fresh() as own:
            worker = workers[number].on(own)
            report: Row = {}
            deadline = time.monotonic() + 40
            while time.monotonic() < deadline:
                try:
                    answer = worker.exchange(
                        report=report, max_tasks=chance.randrange(1, 9), organizations=[tenant.slug]
                    )
                except psycopg.errors.DeadlockDetected as error:
                    errors.append(str(error))
                    continue
                done = {o["task_id"] for o in answer["outcomes"] if o["outcome"] != "busy"}
                left = [i for i in report.get("completed", []) if i["task_id"] not in done]
                errors += [o["outcome"] for o in answer["outcomes"] if o["outcome"] not in {"ok", "busy"}]
                with lock:
                    order.extend(t["task"]["metadata"]["step_id"] for t in answer["tasks"])
                report = {"completed": left + [item(t, response="[1, 2]") for t in answer["tasks"]]}
                if not report["completed"]:
                    if project_status(own, project) == "completed":
                        break
                    time.sleep(0.01)
        return errors

    workers = holders(world, 6)
    with ThreadPoolExecutor(6) as pool:
        errors = [e for found in pool.map(run, range(6)) for e in found]
    assert errors == []
    assert (project.status, set(project.states().values())) == ("completed", {"completed"})
    tasks = world.admin.rows(
        "select project_step_id, status, attempt from public.tasks where organization_slug = %s", tenant.slug
    )
    assert {(t["status"], t["attempt"]) for t in tasks} == {("completed", 1)}
    maps = {s["id"] for s in plan if s.get("type") == "map"}
    assert len(tasks) == len(plan) + len(maps), "two elements each"
    first = {name: place for place, name in reversed(list(enumerate(order)))}
    assert [(d, s["id"]) for s in plan for d in s["dependencies"] if first[d] > first[s["id"]]] == []
    assert nothing_left(world, tenant)


def project_status(session: Session, project: Project) -> str:
    return str(session.value("select status from public.projects where id = %s", project.id))


def test_steering_while_workers_work_leaves_nothing_behind(world: World, tenant: Tenant) -> None:
    project = started(tenant, random_plan(tenant, 80, 8, 11))
    stop = threading.Event()
    workers = holders(world, 3)

    def run(number: int) -> list[str]:
        errors = []
        with world.service.fresh() as own:
            worker = workers[number].on(own)
            report: Row = {}
            while not stop.is_set():
                try:
                    answer = worker.exchange(report=report, max_tasks=4, organizations=[tenant.slug])
                except psycopg.Error as error:
                    errors.append(f"{type(error).__name__}: {error}")
                    return errors
                busy = {o["task_id"] for o in answer["outcomes"] if o["outcome"] == "busy"}
                left = [i for i in report.get("completed", []) if i["task_id"] in busy]
                report = {"completed": left + [item(t, response="[1]") for t in answer["tasks"]]}
                time.sleep(0.005)
        return errors

    chance = random.Random(7)  # noqa: S311
    with ThreadPoolExecutor(3) as pool, tenant.owner.fresh() as own:
        running = [pool.submit(run, n) for n in range(3)]
        steering = project.on(own)
        for _ in range(40):
            action = chance.choice(["pause", "resume", "skip", "resume"])
            try:
                if action == "skip":
                    steering.do_step("skip", chance.choice(list(project.steps())))
                else:
                    steering.do(action)
            except psycopg.Error as error:
                if error.diag.sqlstate != "PT409":
                    stop.set()
                    raise
            time.sleep(0.01)
        if project.status == "paused":
            steering.do("resume")
        deadline = time.monotonic() + 30
        while project.status == "running" and time.monotonic() < deadline:
            time.sleep(0.05)
        stop.set()
        assert [e for future in running for e in future.result()] == []
    assert project.status == "completed"
    assert set(project.states().values()) <= {"completed", "skipped"}
    query = (
        "select project_step_id, count(*) from public.tasks where status = 'completed' and organization_slug = %s"
        " and method = 'converse' and metadata ->> 'index' is null group by 1 having count(*) > 1"
    )
    assert world.admin.rows(query, tenant.slug) == [], "nothing was completed twice"
    assert nothing_left(world, tenant)


def test_two_answers_at_once_are_one(tenant: Tenant) -> None:
    project = started(tenant, [{"id": "q", "type": "human_approval", "prompt": "?"}, agent_step(tenant, "end", "q")])
    question = project.question("q")["id"]
    answers = iter([{"approved": True}, {"approved": True, "n": 2}, {"approved": False}])

    def act(session: Session) -> Any:
        body = psycopg.types.json.Jsonb(next(answers))
        return session.row("select * from public.respond_to_input_request(%s, %s)", question, body)["status"]

    results = in_parallel([tenant.owner] * 3, act)
    assert results.count("answered") == 1
    assert [r.diag.message_primary for r in results if isinstance(r, psycopg.Error)] == ["input_request_closed"] * 2
    assert len(project.tasks("end")) <= 1


def test_a_project_that_is_deleted_while_a_step_ends(world: World, tenant: Tenant, worker: Worker) -> None:
    for _ in range(5):
        project = started(tenant, [agent_step(tenant, "a"), agent_step(tenant, "b", "a")])
        lease = worker.claim_one(tenant)

        def act(session: Session, project: Project = project, lease: Row = lease) -> Any:
            if session.role == "service_role":
                return worker.on(session).complete(lease)
            return session.execute("delete from public.projects where id = %s", project.id)

        results = in_parallel([world.service, tenant.owner], act)
        assert [r for r in results if isinstance(r, psycopg.Error)] == []
        reap(worker)
        assert world.admin.rows("select from public.projects where id = %s", project.id) == []
        assert nothing_left(world, tenant)
