"""The queue against its model: random calls of several workers and people, and after each the whole table is compared.

By default a fixed set of examples runs; ORCHESTRATOR_MODEL_EXAMPLES=2000 runs that many new random ones.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from psycopg.types.json import Jsonb

from tests.database.engine_items import FUNCTIONS, LISTS, Said, check_outcomes, leases_of, said
from tests.database.engine_stage import Place, Stage
from tests.database.engine_states import Lease, Task
from tests.database.kit import Connection, Row, Worker, refused

T = TypeVar("T")
EXAMPLES, STEPS = 40, 50
KEY_LIMITS = {"one": 1, "three": 3}
FORWARD = [1, 7, 31, 61, 61, 400, 4000]


@dataclass(frozen=True)
class Sent:
    """An exchange and its answer, to be sent again as after a lost response."""

    worker: Worker
    arguments: Row
    answer: Row
    at: datetime


class QueueMachine(RuleBasedStateMachine):
    """Every rule acts on the database, tells the model, and checks the answer; the invariant compares the rest."""

    where: ClassVar[tuple[str, Connection]]

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage(*self.where, workers=3)
        self.model = self.stage.model
        self.leases: list[Lease] = []
        self.sent: list[Sent] = []

    @initialize(data=st.data(), limit=st.sampled_from([None, 2, 4]), agent_limit=st.sampled_from([1, 2]))
    def build(self, data: st.DataObject, limit: int | None, agent_limit: int) -> None:
        self.stage.build(limit, agent_limit, KEY_LIMITS)
        self.stage.build(None, 1, KEY_LIMITS)
        self.insert(data, 6)

    def place(self, data: st.DataObject) -> Place:
        """Draw an organization whose people may act: an active one."""
        return pick(data, [p for p in self.stage.places.values() if self.model.organizations[p.slug].active])

    def active(self, task: Task) -> bool:
        return self.model.organizations[task.organization].active

    # People

    @rule(data=st.data(), count=st.integers(1, 4))
    def insert(self, data: st.DataObject, count: int) -> None:
        for _ in range(count):
            place = self.place(data)
            user = pick(data, place.users)
            key = pick(data, [None, None, *KEY_LIMITS])
            own = [conversation for conversation, user_id in place.conversations if user_id == user.id]
            self.stage.insert(
                place,
                user,
                agent_slug=pick(data, place.agents),
                agent_conversation_id=pick(data, [None, *own]),
                priority=5 if key else pick(data, [1, 5]),
                delay=timedelta(seconds=0 if key else pick(data, [0, 0, 0, 30, 600])),
                max_attempts=pick(data, [1, 2, 3]),
                timeout_seconds=pick(data, [30, 3600]),
                backoff_seconds=pick(data, [0, 5, 60]),
                concurrency_key=key,
            )

    @rule(data=st.data(), what=st.sampled_from(["cancel", "retry", "answer", "answer", "delete", "leave", "change"]))
    def act_as_a_person(self, data: st.DataObject, what: str) -> None:
        match what:
            case "cancel" | "retry":
                self.cancel_or_retry(data, f"{what}_task")
            case "answer":
                self.answer(data, pick(data, [True, False, "no boolean"]))
            case "delete":
                (self.delete_conversation if pick(data, [True, False]) else self.delete_agent)(data)
            case "leave":
                self.remove_member(data)
            case "change":
                self.change_organization(data, pick(data, [None, None, 1, 3, 0]), pick(data, [True, True, True, False]))

    def cancel_or_retry(self, data: st.DataObject, function: str) -> None:
        task = pick(data, list(self.model.tasks.values()))
        owner = self.stage.places[task.organization].users[0] if self.active(task) else self.stage.service
        # What is asked for is already so: the same row again.
        if task.status == {"cancel_task": "cancelled", "retry_task": "pending"}[function]:
            assert owner.call(function, task_id=task.id)["id"] == task.id
        elif function == "cancel_task" and task.unfinished:
            assert owner.call(function, task_id=task.id)["status"] == "cancelled"
            self.model.cancel(task)
        elif function == "retry_task" and task.status in {"failed", "timeout", "cancelled"}:
            assert owner.call(function, task_id=task.id)["status"] == "pending"
            self.model.retry(task)
        else:
            with refused("PT409", "task_finished" if function == "cancel_task" else "illegal_move"):
                owner.call(function, task_id=task.id)

    def answer(self, data: st.DataObject, response: object) -> None:
        asked = [task for task in self.model.tasks.values() if task.status == "paused" and self.active(task)]
        if not asked:
            return
        task = pick(data, asked)
        question = self.stage.open_question(task)
        owner = self.stage.places[task.organization].users[0]
        expires_at = task.questions[-1].expires_at
        if expires_at is not None and expires_at <= self.model.now:
            with refused("PT409", "input_request_closed"):
                owner.call("respond_to_input_request", input_request_id=question, response=Jsonb(response))
        elif not isinstance(response, bool):
            with refused("22023", "response_does_not_fit"):
                owner.call("respond_to_input_request", input_request_id=question, response=Jsonb(response))
        else:
            for _ in range(2):  # the same answer sent twice is one answer
                owner.call("respond_to_input_request", input_request_id=question, response=Jsonb(response))
            self.model.answer(task, response)

    def delete_conversation(self, data: st.DataObject) -> None:
        place = self.place(data)
        conversation, user_id = place.conversations.pop(data.draw(st.integers(0, len(place.conversations) - 1)))
        user = next(u for u in place.users if u.id == user_id)
        assert user.execute("delete from public.agent_conversations where id = %s", conversation) == 1
        for task in self.model.tasks.values():
            if task.conversation == conversation:
                task.conversation, task.replies = None, 0
        self.stage.add_conversation(place, user)

    def delete_agent(self, data: st.DataObject) -> None:
        place = self.place(data)
        agent = place.agents.pop()
        assert place.users[0].execute("delete from public.agents where slug = %s", agent) == 1
        for task in self.model.tasks.values():
            if task.agent == agent:
                task.agent = None
        self.stage.add_agent(place, pick(data, [1, 2]))

    def remove_member(self, data: st.DataObject) -> None:
        place = self.place(data)
        owner, member = place.users
        owner.call("remove_member", organization_slug=place.slug, user_id=member.id)
        for task in self.model.tasks.values():
            if task.user == member.id and task.unfinished:
                self.model.cancel(task)
        place.tenant.join("member", member)

    def change_organization(self, data: st.DataObject, limit: int | None, active: bool) -> None:
        place = pick(data, list(self.stage.places.values()))
        organization = self.model.organizations[place.slug]
        # One stays active, so that people can act.
        organization.limit, organization.active = limit, active or place is next(iter(self.stage.places.values()))
        limits = {} if limit is None else {"max_concurrent_tasks": limit}
        self.stage.world.admin.update(
            "organizations", {"slug": place.slug}, settings={"limits": limits}, is_active=organization.active
        )

    @rule(seconds=st.one_of(st.sampled_from(FORWARD), st.sampled_from([-1, -3])))
    def let_time_pass(self, seconds: int) -> None:
        self.model.pass_time(timedelta(seconds=seconds))

    # Workers

    def draw_items(self, data: st.DataObject, worker: Worker, kinds: list[str], at_most: int) -> list[Said]:
        """Draw what a worker says: mostly about what it holds, sometimes about anything that anybody ever held."""
        runs = [task.run for task in self.model.tasks.values() if task.run]
        held = [run.lease for run in runs if run.lease.worker == worker.id]
        leases = held if held and data.draw(st.integers(0, 3)) < 3 else self.leases
        if not leases:
            return []
        items = data.draw(st.lists(said(leases, kinds), min_size=1, max_size=at_most))
        return [*items, *items[:1]] if data.draw(st.integers(0, 4)) == 4 else items

    def expect(self, items: list[Said], worker: Worker) -> list[tuple[str, str, frozenset[str]]]:
        return [
            (s.lease.task_id, s.kind, self.model.expect_report(s.kind, s.lease, worker.id, s.content, s.valid))
            for s in items
        ]

    def check_leases(self, worker: Worker, leases: list[Row], max_tasks: int, slugs: list[str]) -> None:
        self.model.check_claim(leases, worker.id, max_tasks, slugs)
        self.leases += [self.model.tasks[lease["task"]["id"]].runs[-1].lease for lease in leases]

    def draw_slugs(self, data: st.DataObject) -> list[str]:
        slugs = list(self.stage.places)
        return data.draw(st.sampled_from([slugs, slugs, slugs[:1], slugs[1:]]))

    @rule(data=st.data(), index=st.integers(0, 2), max_tasks=st.integers(1, 4))
    def claim(self, data: st.DataObject, index: int, max_tasks: int) -> None:
        worker, slugs = self.stage.workers[index], self.draw_slugs(data)
        leases = worker.session.call(
            "claim_tasks",
            worker_id=worker.id,
            max_tasks=max_tasks,
            lease_seconds=self.model.lease_seconds,
            organizations=slugs,
        )
        self.check_leases(worker, leases, max_tasks, slugs)

    @rule(data=st.data(), index=st.integers(0, 2), kind=st.sampled_from(list(FUNCTIONS)))
    def report(self, data: st.DataObject, index: int, kind: str) -> None:
        worker = self.stage.workers[index]
        items = self.draw_items(data, worker, [kind], 3)
        arguments: Row = {"worker_id": worker.id, "items": Jsonb([s.item() for s in items])}
        if kind == "heartbeat":
            arguments["lease_seconds"] = self.model.lease_seconds
        outcomes = worker.session.call(FUNCTIONS[kind], **arguments)
        check_outcomes(outcomes, self.expect(items, worker))

    @rule(data=st.data(), index=st.integers(0, 2), max_tasks=st.integers(0, 4), reap=st.booleans())
    def exchange(self, data: st.DataObject, index: int, max_tasks: int, reap: bool) -> None:
        worker, slugs = self.stage.workers[index], self.draw_slugs(data)
        items = self.draw_items(data, worker, list(LISTS), 5)
        items.sort(key=lambda s: list(LISTS).index(s.kind))
        report: dict[str, Any] = {}
        for each in items:
            report.setdefault(LISTS[each.kind], []).append(each.item())
        arguments: Row = {"request_id": str(uuid.uuid4()), "report": report, "max_tasks": max_tasks}
        arguments |= {"lease_seconds": self.model.lease_seconds, "organizations": slugs}
        self.stage.let_reap(reap)
        answer = worker.exchange(**arguments)
        check_outcomes(answer["outcomes"], self.expect(items, worker))
        if reap:
            self.model.reap()
            self.model.expire()
        self.check_leases(worker, answer["tasks"], max_tasks, slugs)
        self.check_rest(worker, answer, max_tasks, slugs)
        if answer["tasks"] or answer["outcomes"]:
            self.sent.append(Sent(worker, arguments, answer, self.model.now))

    def check_rest(self, worker: Worker, answer: Row, max_tasks: int, slugs: list[str]) -> None:
        """Check that the worker hears of cancellations, and comes back at once while there is more to do."""
        cancelled = self.model.cancelled_for(worker.id, timedelta(seconds=50))
        assert cancelled <= set(answer["cancel"]) <= self.model.cancelled_for(worker.id, None)
        if max_tasks and len(answer["tasks"]) == max_tasks and any(map(self.model.admits, self.model.waiting(slugs))):
            assert answer["next_poll_ms"] == 0

    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        """A response was lost: the same request later gives the same answer, and does nothing."""
        recent = [sent for sent in self.sent if abs(self.model.now - sent.at) < timedelta(minutes=5)]
        if recent:
            sent = pick(data, recent)
            self.stage.let_reap(True)
            answer = sent.worker.exchange(**sent.arguments)
            assert answer["outcomes"] == sent.answer["outcomes"]
            assert leases_of(answer) == leases_of(sent.answer)

    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        self.stage.compare()

    def teardown(self) -> None:
        self.stage.close()


def pick(data: st.DataObject, options: Sequence[T]) -> T:
    """Draw one of these; prints as its number."""
    return options[data.draw(st.integers(0, len(options) - 1))]


def test_the_queue_does_what_its_model_does(dsn: str, connection: Connection) -> None:
    class Machine(QueueMachine):
        where = (dsn, connection)

    examples = os.environ.get("ORCHESTRATOR_MODEL_EXAMPLES")
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=int(examples or EXAMPLES),
            stateful_step_count=STEPS,
            derandomize=not examples,
            database=None,
            deadline=None,
            # Shrinking repeats a failure for minutes; a long run has the time.
            phases=[Phase.generate, Phase.shrink] if examples else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
