"""The queue against its model: random calls of several workers and people, and after each the whole table is compared.

By default a fixed set of examples runs; ORCHESTRATOR_MODEL_EXAMPLES=2000 runs that many new random ones.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from psycopg.types.json import Jsonb

from tests.database.engine_items import (
    FUNCTIONS,
    LISTS,
    NUMBER,
    ONE_KIND,
    REPORT,
    TASK,
    Expected,
    Said,
    check_outcomes,
    item_about,
    leases_of,
)
from tests.database.engine_stage import Place, Stage
from tests.database.engine_states import Lease, Task
from tests.database.kit import Connection, Row, Worker, refused

T = TypeVar("T")
EXAMPLES, STEPS = 25, 50
KEY_LIMITS = {"one": 1, "three": 3}
# Mostly forward; a clock is also set back a little.
ACTS = ["cancel", "retry", "answer", "answer", "delete", "leave", "change"]
TIMES = [1, 7, 31, 61, 61, 400, 4000, -1, -3]


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

    @initialize(
        limit=st.sampled_from([None, 2, 4]),
        agent_limit=st.sampled_from([1, 2]),
        drafts=st.lists(TASK, min_size=6, max_size=6),
    )
    def build(self, limit: int | None, agent_limit: int, drafts: list[Row]) -> None:
        self.stage.build(limit, agent_limit, KEY_LIMITS)
        self.stage.build(None, 1, KEY_LIMITS)
        self.insert(drafts)

    def active(self, task: Task) -> bool:
        return self.model.organizations[task.organization].active

    def place(self, number: int) -> Place:
        """Choose an organization whose people may act: an active one."""
        places = self.stage.places.values()
        return nth([p for p in places if self.model.organizations[p.slug].active], number)

    # People

    @rule(drafts=st.lists(TASK, min_size=1, max_size=4))
    def insert(self, drafts: list[Row]) -> None:
        for draft in drafts:
            place = self.place(draft["place"])
            user, key = nth(place.users, draft["user"]), draft["key"]
            own = [conversation for conversation, user_id in place.conversations if user_id == user.id]
            self.stage.insert(
                place,
                user,
                agent_slug=nth(place.agents, draft["agent"]),
                agent_conversation_id=nth([None, *own], draft["conversation"]),
                priority=5 if key else draft["priority"],
                delay=timedelta(seconds=0 if key else draft["delay"]),
                max_attempts=draft["max_attempts"],
                timeout_seconds=draft["timeout_seconds"],
                backoff_seconds=draft["backoff_seconds"],
                concurrency_key=key,
            )

    @rule(what=st.sampled_from(ACTS), n=NUMBER, m=NUMBER)
    def act_as_a_person(self, what: str, n: int, m: int) -> None:
        match what:
            case "cancel" | "retry":
                self.cancel_or_retry(f"{what}_task", nth(list(self.model.tasks.values()), n))
            case "answer":
                self.answer(n, nth([True, False, "no boolean"], m))
            case "delete":
                (self.delete_conversation if m % 2 else self.delete_agent)(self.place(n), m)
            case "leave":
                self.remove_member(self.place(n))
            case "change":
                self.change_organization(n, nth([None, None, 1, 3, 0], m), m % 4 != 3)

    def cancel_or_retry(self, function: str, task: Task) -> None:
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

    def answer(self, number: int, response: object) -> None:
        asked = [task for task in self.model.tasks.values() if task.status == "paused" and self.active(task)]
        if not asked:
            return
        task = nth(asked, number)
        owner = self.stage.places[task.organization].users[0]
        arguments = {"input_request_id": self.stage.open_question(task), "response": Jsonb(response)}
        expires_at = task.questions[-1].expires_at
        if expires_at is not None and expires_at <= self.model.now:
            with refused("PT409", "input_request_closed"):
                owner.call("respond_to_input_request", **arguments)
        elif not isinstance(response, bool):
            with refused("22023", "response_does_not_fit"):
                owner.call("respond_to_input_request", **arguments)
        else:
            for _ in range(2):  # the same answer sent twice is one answer
                owner.call("respond_to_input_request", **arguments)
            self.model.answer(task, response)

    def delete_conversation(self, place: Place, number: int) -> None:
        conversation, user_id = place.conversations.pop(number % len(place.conversations))
        user = next(u for u in place.users if u.id == user_id)
        assert user.execute("delete from public.agent_conversations where id = %s", conversation) == 1
        for task in self.model.tasks.values():
            if task.conversation == conversation:
                task.conversation, task.replies = None, 0
        self.stage.add_conversation(place, user)

    def delete_agent(self, place: Place, number: int) -> None:
        agent = place.agents.pop()
        assert place.users[0].execute("delete from public.agents where slug = %s", agent) == 1
        for task in self.model.tasks.values():
            if task.agent == agent:
                task.agent = None
        self.stage.add_agent(place, nth([1, 2], number))

    def remove_member(self, place: Place) -> None:
        owner, member = place.users
        owner.call("remove_member", organization_slug=place.slug, user_id=member.id)
        for task in self.model.tasks.values():
            if task.user == member.id and task.unfinished:
                self.model.cancel(task)
        place.tenant.join("member", member)

    def change_organization(self, number: int, limit: int | None, active: bool) -> None:
        place = nth(list(self.stage.places.values()), number)
        organization = self.model.organizations[place.slug]
        # The first stays active, so that people can act.
        organization.limit, organization.active = limit, active or place.slug == next(iter(self.stage.places))
        limits = {} if limit is None else {"max_concurrent_tasks": limit}
        self.stage.world.admin.update(
            "organizations", {"slug": place.slug}, settings={"limits": limits}, is_active=organization.active
        )

    @rule(seconds=st.sampled_from(TIMES))
    def let_time_pass(self, seconds: int) -> None:
        self.model.pass_time(timedelta(seconds=seconds))

    # Workers

    def expect(self, says: list[Said], worker: Worker) -> tuple[list[Row], list[Expected]]:
        """Give the items that these become, in the order in which they are taken, and what they must be answered."""
        runs = [task.run for task in self.model.tasks.values() if task.run]
        held = [run.lease for run in runs if run.lease.worker == worker.id]
        items, answers = [], []
        for each in sorted(says, key=lambda s: list(LISTS).index(s.kind)):
            lease = each.about(held, self.leases)
            if lease is not None:
                items.append(item_about(lease, each.content))
                right = self.model.expect_report(each.kind, lease, worker.id, each.content, each.valid)
                answers.append((lease.task_id, each.kind, right))
        return items, answers

    def check_leases(self, worker: Worker, leases: list[Row], max_tasks: int, slugs: list[str]) -> None:
        self.model.check_claim(leases, worker.id, max_tasks, slugs)
        self.leases += [self.model.tasks[lease["task"]["id"]].runs[-1].lease for lease in leases]

    def slugs(self, number: int) -> list[str]:
        slugs = list(self.stage.places)
        return nth([slugs, slugs, slugs[:1], slugs[1:]], number)

    @rule(index=st.integers(0, 2), max_tasks=st.integers(1, 4), where=NUMBER)
    def claim(self, index: int, max_tasks: int, where: int) -> None:
        worker, slugs = self.stage.workers[index], self.slugs(where)
        asked = {"max_tasks": max_tasks, "lease_seconds": self.model.lease_seconds, "organizations": slugs}
        leases = worker.session.call("claim_tasks", worker_id=worker.id, **asked)
        self.check_leases(worker, leases, max_tasks, slugs)

    @rule(index=st.integers(0, 2), says=ONE_KIND)
    def report(self, index: int, says: list[Said]) -> None:
        worker, kind = self.stage.workers[index], says[0].kind
        items, expected = self.expect(says, worker)
        arguments: Row = {"worker_id": worker.id, "items": Jsonb(items)}
        if kind == "heartbeat":
            arguments["lease_seconds"] = self.model.lease_seconds
        check_outcomes(worker.session.call(FUNCTIONS[kind], **arguments), expected)

    @rule(index=st.integers(0, 2), max_tasks=st.integers(0, 4), where=NUMBER, reap=st.booleans(), says=REPORT)
    def exchange(self, index: int, max_tasks: int, where: int, *, reap: bool, says: list[Said]) -> None:
        worker, slugs = self.stage.workers[index], self.slugs(where)
        items, expected = self.expect(says, worker)
        report: dict[str, list[Row]] = {}
        for (_, kind, _), each in zip(expected, items, strict=True):
            report.setdefault(LISTS[kind], []).append(each)
        arguments: Row = {"request_id": str(uuid.uuid4()), "report": report, "max_tasks": max_tasks}
        arguments |= {"lease_seconds": self.model.lease_seconds, "organizations": slugs}
        self.stage.let_reap(reap)
        answer = worker.exchange(**arguments)
        check_outcomes(answer["outcomes"], expected)
        if reap:
            self.model.reap()
            self.model.expire()
        self.check_leases(worker, answer["tasks"], max_tasks, slugs)
        self.check_rest(worker, answer, max_tasks, slugs)
        if max_tasks or items:
            self.sent.append(Sent(worker, arguments, answer, self.model.now))

    def check_rest(self, worker: Worker, answer: Row, max_tasks: int, slugs: list[str]) -> None:
        """Check that the worker hears of cancellations, and comes back at once while there is more to do."""
        cancelled = self.model.cancelled_for(worker.id, timedelta(seconds=50))
        assert cancelled <= set(answer["cancel"]) <= self.model.cancelled_for(worker.id, None)
        if max_tasks and len(answer["tasks"]) == max_tasks and any(map(self.model.admits, self.model.waiting(slugs))):
            assert answer["next_poll_ms"] == 0

    @rule(number=NUMBER)
    def send_again(self, number: int) -> None:
        """A response was lost: the same request later gives the same answer, and does nothing."""
        recent = [sent for sent in self.sent if abs(self.model.now - sent.at) < timedelta(minutes=5)]
        if recent:
            sent = nth(recent, number)
            self.stage.let_reap(True)
            answer = sent.worker.exchange(**sent.arguments)
            assert answer["outcomes"] == sent.answer["outcomes"]
            assert leases_of(answer) == leases_of(sent.answer)

    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        self.stage.compare()

    def teardown(self) -> None:
        self.stage.close()


def nth(options: Sequence[T], number: int) -> T:
    """Choose by number, however many there are: what is drawn must not depend on what the database chose."""
    return options[number % len(options)]


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
