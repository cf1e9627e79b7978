"""A hundred api agents at once in one worker process: the worker that people run, with all that a task brings."""

import json
import sys
import time

from bench.queue.database import ORGANIZATION, USER
from bench.queue.lab import Lab
from bench.queue.ours import worker
from bench.results import Result, at_least, at_most, plain
from workers.__main__ import main

ANSWER_SECONDS = 0.2
CONCURRENCY = 100
TASKS = 5000
END_SECONDS = 300.0

_AGENTS = """
insert into public.agents
  (slug, organization_slug, name, description, agent_type, department, io_schema, capabilities, context, endpoint)
select 'bench-api-' || i, array[%(organization)s], 'Bench', 'For measuring.', 'api', 'bench', '{}', '{}', 'None.', %(endpoint)s
from generate_series(1, %(agents)s) i
"""  # noqa: E501
_TASKS = """
insert into public.tasks (organization_slug, user_id, method, agent_slug, prompt)
select %(organization)s, %(user)s, 'process', 'bench-api-' || 1 + i %% %(agents)s, 'Answer.'
from generate_series(1, %(tasks)s) i
"""


def run(lab: Lab, url: str) -> list[Result]:
    """Drain so many tasks whose endpoint takes its time; the ideal is that all slots wait for it all the time."""
    database, tasks = lab.database, lab.options.scale(TASKS, 300)
    endpoint = json.dumps({"url": url, "method": "POST"})
    values = {"organization": ORGANIZATION, "user": USER, "tasks": tasks, "agents": CONCURRENCY}
    database.wipe()
    database.connection.execute(_AGENTS, values | {"endpoint": endpoint})
    database.connection.execute(_TASKS, values)
    database.settle()
    open_door = {"ORCHESTRATOR_ALLOW_PRIVATE_HOSTS": "1"}
    with worker(lab.stack, CONCURRENCY, module="bench.agents.requests", **open_door) as process:
        before = lab.meter.read()
        process.go()
        cpu = {"worker": float(process.result(END_SECONDS)["cpu_seconds"])} | lab.meter.since(before)
    if (done := database.completed()) != tasks:
        raise SystemExit(f"bench: {done} of {tasks} api agents completed")
    rate = tasks / database.span()
    name = f"api agents, {CONCURRENCY} at once"
    return [
        plain(f"{name}: throughput", rate, "tasks/s"),
        at_least(f"{name}: of the ideal throughput", rate * ANSWER_SECONDS / CONCURRENCY, "x ideal", 0.9),
        at_most(f"{name}: peak memory of the worker", process.peak, "MB", 250),
        *(plain(f"{name}: processor time, {who}", seconds / tasks * 1e6, "us/task") for who, seconds in cpu.items()),
    ]


if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()
    cpu = time.process_time()
    status = main(["run", "--once"])
    print(json.dumps({"cpu_seconds": time.process_time() - cpu}))
    sys.exit(status)
