"""Projects against their model: random plans, and random acts of workers and people on them.

By default a fixed set of examples runs; ORCHESTRATOR_MODEL_EXAMPLES=2000 runs that many new random ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Tenant, Worker, World, refused
from tests.database.project_model import Project, Step

EXAMPLES = int(os.environ.get("ORCHESTRATOR_MODEL_EXAMPLES", "60"))
ACTS = ["claim", "claim", "complete", "complete", "complete", "fail", "pause", "resume", "skip", "retry", "cancel"]
NUMBERS = st.integers(0, 1000)


@st.composite
def plans(draw: st.DrawFn) -> list[Row]:
    """Draw the steps of a plan; each depends on some of those before it."""
    steps: list[Row] = []
    for number in range(draw(st.integers(3, 10))):
        before = [s["id"] for s in steps]
        dependencies = draw(st.lists(st.sampled_from(before), unique=True, max_size=4)) if before else []
        step = {"id": f"s{number}", "dependencies": dependencies, "on_failure": draw(st.sampled_from(FAILURES))}
        steps.append(step)
    return draw(st.permutations(steps))


FAILURES = ["stop", "stop", "continue"]


def anything(_: Step) -> bool:
    return True


@dataclass
class Run:
    """One project in the database beside its model."""

    tenant: Tenant
    worker: Worker
    model: Project
    id: str
    leases: dict[str, Row] = field(default_factory=dict)

    @classmethod
    def begin(cls, tenant: Tenant, worker: Worker, steps: list[Row]) -> Run:
        plan = {"steps": [s | {"agent": tenant.agent, "prompt": s["id"], "max_attempts": 1} for s in steps]}
        row = tenant.owner.insert("projects", conversation_id=tenant.conversation(), plan_json=Jsonb(plan))
        model = Project(
            {s["id"]: Step(s["id"], frozenset(s["dependencies"]), s["on_failure"] == "continue") for s in steps}
        )
        return cls(tenant, worker, model, str(row["id"]))

    def pick(self, number: int, fits: Callable[[Step], bool]) -> Step | None:
        """Choose one of the steps that fit, None when none does."""
        found = [s for s in self.model.steps.values() if fits(s)]
        return found[number % len(found)] if found else None

    def act(self, name: str, number: int) -> None:
        getattr(self, name)(number)

    # Workers

    def claim(self, number: int) -> None:
        expected = self.model.claimable()
        leases = self.worker.claim(self.tenant, max_tasks=number % 4 + 1)
        given = {lease["task"]["prompt"]: lease for lease in leases}
        assert given.keys() <= expected
        assert len(given) == min(number % 4 + 1, len(expected))
        for name, lease in given.items():
            self.leases[name] = lease
            self.model.claim(self.model.steps[name])

    def complete(self, number: int) -> None:
        self.report(number, self.worker.complete, self.model.complete)

    def fail(self, number: int) -> None:
        self.report(number, self.worker.fail, self.model.fail)

    def report(self, number: int, say: Callable[[Row], str], follow: Callable[[Step], None]) -> None:
        step = self.pick(number, lambda s: s.id in self.leases)
        if step is None:
            return
        outcome = say(self.leases.pop(step.id))
        if step.status == "in_progress":
            assert outcome == "ok"
            follow(step)
        else:
            assert outcome in {"lost", "cancelled"}

    # People

    def pause(self, _: int) -> None:
        self.steer("pause_project", {"running"}, {"paused"}, self.model.pause)

    def resume(self, _: int) -> None:
        self.steer("resume_project", {"paused", "failed"}, set(), self.model.resume)

    def cancel(self, number: int) -> None:
        if number % 5 == 0:  # rarely: it is the end
            allowed = {"planning", "running", "paused", "failed"}
            self.steer("cancel_project", allowed, {"cancelled"}, self.model.cancel)

    def steer(self, function: str, allowed: set[str], already: set[str], follow: Callable[[], None]) -> None:
        if self.model.status in allowed:
            follow()
        elif self.model.status not in already:
            with refused("PT409", "illegal_move"):
                self.tenant.owner.call(function, project_id=self.id)
            return
        answer = self.tenant.owner.call(function, project_id=self.id)
        assert answer["status"] == self.model.status

    def skip(self, number: int) -> None:
        step = (number % 2 and self.pick(number, lambda s: s.status == "failed")) or self.pick(number, anything)
        assert step is not None
        if self.model.status in {"completed", "cancelled"} or step.status in {"completed", "cancelled"}:
            with refused("PT409"):
                self.call_step("skip_project_step", step)
            return
        if step.status != "skipped":
            self.model.skip(step)
        assert self.call_step("skip_project_step", step)["status"] == self.model.status

    def retry(self, number: int) -> None:
        step = self.pick(number, lambda s: s.status == "failed") or self.pick(number, anything)
        assert step is not None
        over = self.model.status in {"completed", "cancelled"}
        dependents = any(step.id in s.dependencies for s in self.model.steps.values())
        if over or step.status != "failed" or (step.is_passed and dependents):
            with refused("PT409"):
                self.call_step("retry_project_step", step)
            return
        self.model.retry(step)
        assert self.call_step("retry_project_step", step)["status"] == self.model.status

    def call_step(self, function: str, step: Step) -> Row:
        step_id = self.tenant.world.admin.value(
            "select id from public.project_steps where project_id = %s and step_id = %s", self.id, step.id
        )
        answer: Row = self.tenant.owner.call(function, project_step_id=str(step_id))
        return answer

    # Judgement

    def compare(self) -> None:
        """Assert that the database says what the model says, and that tasks fit their steps."""
        admin = self.tenant.world.admin
        project = admin.row("select * from public.projects where id = %s", self.id)
        steps = admin.rows("select * from public.project_steps where project_id = %s", self.id)
        assert {s["step_id"]: s["status"] for s in steps} == {s.id: s.status for s in self.model.steps.values()}
        assert project["status"] == self.model.status
        assert {name: project[name] for name in self.model.numbers} == self.model.numbers
        ended = self.model.status in {"completed", "failed", "cancelled"}
        assert (project["completed_at"] is not None) == ended
        if self.model.status == "failed":
            assert self.model.steps[project["error_details"]["step_id"]].status in {"failed", "skipped", "ready"}
        tasks = admin.rows(
            "select s.step_id, s.status as step_status, t.id = s.task_id as is_current, t.status from public.tasks t"
            " join public.project_steps s on s.id = t.project_step_id where s.project_id = %s",
            self.id,
        )
        live = {t["step_id"]: t["status"] for t in tasks if t["status"] in {"pending", "in_progress"}}
        assert all(t["is_current"] for t in tasks if t["status"] in {"pending", "in_progress", "completed"})
        assert live == dict.fromkeys(self.model.claimable(), "pending") | {
            s.id: "in_progress" for s in self.model.steps.values() if s.status == "in_progress"
        }
        completed = [t["step_id"] for t in tasks if t["status"] == "completed"]
        assert sorted(completed) == sorted(self.model.completions)
        assert set(self.model.completions.values()) <= {1}

    def finish(self) -> None:
        """Bring the project to an end, as a patient user would, so that every example has one."""
        for _ in range(200):
            if self.model.status in {"completed", "cancelled"}:
                return
            if self.model.status in {"paused", "failed"}:
                self.resume(0)
            self.claim(3)
            for name in sorted(self.leases):
                step = self.model.steps[name]
                assert self.worker.complete(self.leases.pop(name)) == "ok"
                self.model.complete(step)
            self.compare()
        raise AssertionError("the project does not end")


@pytest.fixture(scope="module")
def place(scene: World) -> tuple[Tenant, Worker]:
    return scene.tenant(), scene.worker()


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="ORCHESTRATOR_MODEL_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)
@given(
    steps=plans(),
    skipped=st.lists(NUMBERS, max_size=2),
    acts=st.lists(st.tuples(st.sampled_from(ACTS), NUMBERS), min_size=12, max_size=40),
)
def test_a_project_does_what_its_model_does(
    place: tuple[Tenant, Worker], steps: list[Row], skipped: list[int], acts: list[tuple[str, int]]
) -> None:
    run = Run.begin(*place, steps)
    try:
        run.compare()
        for number in skipped:
            run.act("skip", number)
        run.compare()
        run.steer("start_project", {"planning"}, {"running"}, run.model.start)
        run.compare()
        for name, number in acts:
            run.act(name, number)
            run.compare()
        run.leases = {n: lease for n, lease in run.leases.items() if run.model.steps[n].status == "in_progress"}
        run.finish()
    finally:
        run.tenant.world.admin.execute("delete from public.projects where id = %s", run.id)
        run.tenant.world.admin.execute("delete from public.tasks where organization_slug = %s", run.tenant.slug)
