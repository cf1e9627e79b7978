"""The worker's own command, killed, asleep and told to leave in the middle of a task: everything is done, once.

Hundreds of deaths, a bad network and services that die have modules of their own: test_chaos_kills, test_chaos_network,
test_chaos_database.
"""

from __future__ import annotations

import signal

from tests.workers.conftest import CONCURRENCY, DRAIN_SECONDS, Crew, Endpoint, Lab
from tests.workers.waiting import wait_for


def statuses_in_trail(lab: Lab, task_id: str) -> list[tuple[str, str | None]]:
    """Return (status, error_code) of each move of a task."""
    events = lab.events(task_id, type_="status")
    return [(event["data"]["to"], event["data"].get("error_code")) for event in events]


# Workers that die ----------------------------------------------------------------------------------------------------


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
