"""Steps of projects against as many tasks that belong to none, drained by one worker process of the same concurrency.

A chain has one step to do at a time, so it is measured against tasks that run one at a time as well: they share a
concurrency key of limit 1.
"""

import time
from collections.abc import Callable

from bench.dag import plans
from bench.queue.database import ORGANIZATION, USER
from bench.queue.lab import Lab
from bench.queue.ours import END_SECONDS, worker
from bench.results import Result, at_least, plain

STEPS = 1000
CONCURRENCY = 50
ROUNDS = 3

_TASKS = """
insert into public.tasks (organization_slug, user_id, method, agent_slug, prompt, concurrency_key, concurrency_limit)
select %(organization)s, %(user)s, 'converse', %(agent)s, 'Nothing.', %(key)s, 1 from generate_series(1, %(tasks)s)
"""


def run(lab: Lab) -> list[Result]:
    """Each shape beside its tasks, in turns; the best of three rounds of each."""
    steps = lab.options.scale(STEPS, 60)
    rates: dict[str, list[float]] = {}
    for _ in range(lab.options.scale(ROUNDS, 1)):
        for name, rate in (
            ("tasks", _tasks(lab, steps, None)),
            ("fan-out, fan-in", _project(lab, plans.fan(steps))),
            ("random, width 50", _project(lab, plans.random_layers(steps))),
            ("tasks, one at a time", _tasks(lab, steps, "one")),
            ("chain", _project(lab, plans.chain(steps))),
        ):
            rates.setdefault(name, []).append(rate)
    best = {name: max(found) for name, found in rates.items()}
    return [
        *(plain(f"{steps:,} {name}", rate, "1/s") for name, rate in best.items()),
        at_least("fan-out, fan-in: against tasks", best["fan-out, fan-in"] / best["tasks"], "x tasks", 0.6),
        at_least("random, width 50: against tasks", best["random, width 50"] / best["tasks"], "x tasks", 0.6),
        at_least("chain: against tasks, one at a time", best["chain"] / best["tasks, one at a time"], "x tasks", 0.6),
        plain("chain: against tasks", best["chain"] / best["tasks"], "x tasks"),
    ]


def _tasks(lab: Lab, tasks: int, key: str | None) -> float:
    values = {"organization": ORGANIZATION, "user": USER, "agent": plans.AGENT, "tasks": tasks}
    return _drain(lab, tasks, lambda: lab.database.connection.execute(_TASKS, values | {"key": key}))


def _project(lab: Lab, steps: list[plans.Step]) -> float:
    return _drain(lab, len(steps), lambda: plans.begin(lab.database, steps, ORGANIZATION))


def _drain(lab: Lab, tasks: int, fill: Callable[[], object]) -> float:
    """Tasks per second, from the first claim to the last completion."""
    database = lab.database
    database.wipe()
    database.connection.execute("truncate public.projects cascade")
    fill()
    database.settle()
    with worker(lab.stack, CONCURRENCY) as process:
        process.go()
        deadline = time.monotonic() + END_SECONDS
        while database.completed() < tasks:
            if time.monotonic() > deadline:
                raise SystemExit(f"bench: {database.completed()} of {tasks} tasks completed")
            time.sleep(0.1)
        process.stop()
        process.result(END_SECONDS)
    return tasks / database.span()
