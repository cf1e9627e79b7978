"""Projects: plans that are checked when written, the tree of subprojects, and whose conversation they hang on."""

from __future__ import annotations

import random
import uuid
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, World, in_parallel, refused, when_it_waited

Step = dict[str, Any]


@pytest.fixture(scope="module")
def place(scene: World) -> Tenant:
    return scene.tenant()


def step(name: str, *dependencies: str, **more: Any) -> Step:
    return {"id": name, "name": name, "type": "transform", "transform": ".", "dependencies": list(dependencies)} | more


def add(session: Session, conversation: str, steps: Any = None, **columns: Any) -> Row:
    """Add a project, with a plan where steps are given."""
    plan = {} if steps is None else {"plan_json": Jsonb({"steps": steps})}
    return session.insert("projects", conversation_id=conversation, **{**plan, **columns})


def problem(place: Tenant, plan: Any) -> str:
    """Assert that a plan, or a list of steps, is refused as invalid and return why."""
    plan = {"steps": plan} if isinstance(plan, list) else plan
    conversation = place.conversation()
    with refused("22023", "plan_invalid") as refusal:
        place.owner.insert("projects", conversation_id=conversation, plan_json=plan)
    return refusal.detail


def chain(length: int) -> list[Step]:
    return [step(f"s{n}", *([f"s{n - 1}"] if n else [])) for n in range(length)]


# Plans


@pytest.mark.parametrize(
    "steps",
    [
        [step("a")],
        [step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c", "b")],
        [step("b", "a"), step("a")],
        [{"id": "a", "type": "human_input"}],
        [
            {"id": "a", "type": "human_approval", "on_expiry": "approve", "expires_in_seconds": 60, "schema": {}},
            {"id": "b", "type": "human_input", "schema": {"type": "string"}, "required_role": "admin", "prompt": "?"},
            {"id": "c", "type": "subproject", "plan": {"steps": [step("x")]}, "condition": ".steps.a.result.approved"}
            | {"dependencies": ["a"], "on_failure": "continue", "params": None, "over": None},
            step("d", timeout_seconds=5, max_attempts=1),
        ],
        [step("a" * 100), step("A_1-x")],
    ],
    ids=["one", "diamond", "any order", "no dependencies", "types", "ids"],
)
def test_a_sound_plan_is_taken(place: Tenant, steps: list[Step]) -> None:
    assert add(place.owner, place.conversation(), steps)["plan_json"] == {"steps": steps}


@pytest.mark.parametrize("plan", [{}, {"steps": None}, {"steps": {}}, {"steps": "x"}, {"steps": []}], ids=str)
def test_a_plan_without_steps_is_refused(place: Tenant, plan: dict[str, Any]) -> None:
    assert "1 to 10000 steps" in problem(place, plan)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([step("a", "a")], ["a", "circle"]),
        ([step("a", "b"), step("b", "a")], ["a, b", "circle"]),
        ([step("x"), step("a", "x", "c"), step("b", "a"), step("c", "b"), step("d", "x")], ["a, b, c", "circle"]),
        ([step("a", "z")], ['"a"', '"z"', "not in the plan"]),
        ([step("a", "")], ["not in the plan"]),
        ([{"id": "a", "type": "human_input", "dependencies": [None]}], ["not in the plan"]),
        ([step("a"), step("a")], ['"a"', "twice"]),
        ([step("a", type="magic")], ['"a"', '"magic"']),
        ([step("a", type="")], ['"a"', "unknown type"]),
        ([step("a b")], ["step 1", "id"]),
        ([step("-a")], ["step 1", "id"]),
        ([step("a" * 101)], ["step 1", "id"]),
        ([{"name": "a"}], ["step 1", "id"]),
        (["a"], ["step 1", "id"]),
        ([None], ["step 1", "id"]),
        ([[step("a")]], ["step 1", "id"]),
        ([{"id": "a", "type": "human_input", "dependencies": "b"}], ['"a"', "no list"]),
        ([{"id": "a", "type": "human_input", "dependencies": {"b": 1}}], ['"a"', "no list"]),
        ([{"id": "a", "type": "agent"}], ['"a"', "no agent"]),
        ([{"id": "a"}], ['"a"', "no agent"]),
        ([step("a", deadline=5)], ['"a"', 'unknown key "deadline"']),
        ([step("a", over="a")], ["type transform", '"over"']),
        ([step("a", required_role="admin")], ["type transform", '"required_role"']),
        ([step("a", prompt=5)], ['"prompt"', "no text"]),
        ([step("a", prompt=" ")], ["blank prompt"]),
        ([{"id": "a", "type": "human_input", "name": ""}], ["name"]),
        ([step("a", params=[])], ["params"]),
        ([step("a", on_failure="retry")], ['"retry"', "stop or continue"]),
        ([step("a", transform="." * 10_001)], ["transform", "10000"]),
        ([step("a", transform=None)], ["transform", "10000"]),
        ([step("a", condition="")], ["condition", "10000"]),
        ([step("a", condition="." * 10_001)], ["condition", "10000"]),
        ([step("a", timeout_seconds=0)], ["timeout_seconds"]),
        ([step("a", timeout_seconds=1.5)], ["timeout_seconds"]),
        ([step("a", max_attempts="3")], ["max_attempts"]),
        ([{"id": "a", "type": "map", "agent": "x"}], ["over"]),
        (
            [step("x"), {"id": "a", "type": "map", "agent": "x", "over": "{{ steps.x.result }}s"}],
            ['"over"', "one template"],
        ),
        ([step("x"), {"id": "a", "type": "map", "agent": "x", "over": "x"}], ["names the result", "does not depend"]),
        ([{"id": "a", "type": "subproject"}], ["no plan"]),
        ([{"id": "a", "type": "human_input", "on_expiry": "approve"}], ["asks for no approval"]),
        ([{"id": "a", "type": "human_input", "on_expiry": "resume"}], ['"resume"', "fail, skip or approve"]),
        ([{"id": "a", "type": "human_input", "on_expiry": "skip"}], ["no expires_in_seconds"]),
        ([{"id": "a", "type": "human_input", "expires_in_seconds": 7_776_001}], ["90 days"]),
        ([{"id": "a", "type": "human_input", "required_role": "viewer"}], ['"viewer"']),
        ([{"id": "a", "type": "human_input", "schema": {"oneOf": []}}], ["schema"]),
        ([{"id": "a", "type": "human_approval", "schema": True}], ["schema"]),
    ],
    ids=lambda v: str(v)[:50],
)
def test_an_unsound_plan_is_refused_with_the_reason(place: Tenant, steps: list[Any], words: list[str]) -> None:
    detail = problem(place, steps)
    assert [word for word in words if word not in detail] == []


def test_a_long_circle_is_found(place: Tenant) -> None:
    steps = chain(300)
    steps[0]["dependencies"] = ["s299"]
    assert "circle" in problem(place, steps)


def test_more_than_ten_thousand_steps_are_refused(place: Tenant) -> None:
    assert "1 to 10000 steps" in problem(place, [{"id": f"s{n}", "type": "transform"} for n in range(10_001)])


BIG = random.Random(7)  # noqa: S311
PLANS = {
    "chain": chain(10_000),
    "chain backwards": chain(10_000)[::-1],
    "star": [step("s0"), *(step(f"s{n}", "s0") for n in range(1, 10_000))],
    "web": [step(f"s{n}", *{f"s{BIG.randrange(n)}" for _ in range(5 if n else 0)}) for n in range(10_000)],
}


@pytest.mark.parametrize("shape", PLANS)
def test_ten_thousand_steps_are_written_within_five_seconds(place: Tenant, shape: str) -> None:
    conversation = place.conversation()
    with place.owner.transaction(keep=False) as connection:
        connection.execute("set local statement_timeout = '5s'")
        found = connection.execute(
            "insert into public.projects (conversation_id, plan_json) values (%s, %s) returning status",
            [conversation, Jsonb({"steps": PLANS[shape]})],
        ).fetchone()
    assert found == {"status": "planning"}


def test_an_agent_in_a_plan_must_be_usable(place: Tenant) -> None:
    conversation = place.conversation()
    foreign = place.world.tenant().agent
    for agent in (foreign, "no-such-agent"):
        with refused("PT404", "agent_not_found") as refusal:
            add(place.owner, conversation, [step("a", type="agent", agent=agent, transform=None)])
        assert agent in refusal.detail
    sleeping = place.add_agent(status="inactive")
    with refused("PT409", "agent_inactive"):
        add(place.owner, conversation, [step("a", type="agent", agent=sleeping, transform=None)])
    assert (
        add(place.owner, conversation, [step("a", type="agent", agent=place.agent, transform=None)])["status"]
        == "planning"
    )


def test_a_plan_is_checked_again_when_it_changes_and_only_then(place: Tenant) -> None:
    agent = place.add_agent()
    project = add(place.owner, place.conversation(), [step("a", type="agent", agent=agent, transform=None)])
    place.world.service.update("agents", {"slug": agent}, status="inactive")
    key = {"id": project["id"]}
    for session in (place.owner, place.world.service):
        assert session.update("projects", key, plan_json=project["plan_json"]) == 1
        with refused("22023", "plan_invalid"):
            session.update("projects", key, plan_json={"steps": [step("a", "a")]})
    assert place.world.service.update("projects", key, status="running") == 1
    for session in (place.owner, place.world.service):
        with refused("PT409", "plan_has_started"):
            session.update("projects", key, plan_json={"steps": [step("b")]})


# Whose


def test_a_project_takes_its_organization_from_the_conversation(world: World, tenant: Tenant) -> None:
    other = world.tenant()
    user = tenant.join("member", other.join("member"))
    project = add(user, tenant.conversation(user))
    assert (project["organization_slug"], str(project["user_id"])) == (tenant.slug, user.id)
    with refused("PT404", "conversation_not_found"):
        add(user, tenant.conversation(user), organization_slug=other.slug)


@pytest.mark.parametrize("role", ["developer", "admin", "owner"])
def test_nobody_hangs_a_project_on_anothers_conversation(tenant: Tenant, role: str) -> None:
    conversation = tenant.conversation(tenant.join("member"))
    session = tenant.owner if role == "owner" else tenant.join(role)
    with refused("PT404", "conversation_not_found"):
        add(session, conversation)
    with refused("PT404", "conversation_not_found"):
        add(tenant.world.tenant().owner, conversation)
    with refused("PT404", "conversation_not_found"):
        add(session, str(uuid.uuid4()))


def test_nobody_adds_a_project_in_anothers_name(tenant: Tenant) -> None:
    user = tenant.join("member")
    with refused("42501", "user_id_is_not_yours"):
        add(user, tenant.conversation(user), user_id=tenant.owner.id)


def test_a_viewer_reads_projects_and_writes_none(tenant: Tenant) -> None:
    user = tenant.join("member")
    conversation = tenant.conversation(user)
    project = add(user, conversation)
    tenant.owner.call("set_member_role", organization_slug=tenant.slug, user_id=user.id, role="viewer")
    with refused("42501", "not_allowed"):
        add(user, conversation)
    assert user.update("projects", {"id": project["id"]}, name="Mine") == 0
    assert user.execute("delete from public.projects where id = %s", project["id"]) == 0
    assert len(user.rows("select from public.projects")) == 1


# The tree


def level(tenant: Tenant, project: Row) -> tuple[int, int]:
    row = tenant.world.admin.row("select * from public.projects where id = %s", project["id"])
    return row["hierarchy_level"], row["subproject_count"]


def tree(tenant: Tenant, depth: int) -> tuple[str, list[Row]]:
    """Make a line of projects, each below the last."""
    conversation = tenant.conversation()
    line = [add(tenant.owner, conversation)]
    for _ in range(depth):
        line.append(add(tenant.owner, conversation, parent_project_id=line[-1]["id"]))
    return conversation, line


def test_levels_and_counts_follow_the_tree(tenant: Tenant) -> None:
    conversation, line = tree(tenant, 2)
    second = add(tenant.owner, conversation, parent_project_id=line[0]["id"])
    assert [level(tenant, p) for p in (*line, second)] == [(0, 2), (1, 1), (2, 0), (1, 0)]
    tenant.owner.execute("delete from public.projects where id = %s", second["id"])
    assert level(tenant, line[0]) == (0, 1)


def test_children_of_a_deleted_project_rise(tenant: Tenant) -> None:
    _, line = tree(tenant, 3)
    tenant.owner.execute("delete from public.projects where id = %s", line[0]["id"])
    assert [level(tenant, p) for p in line[1:]] == [(0, 1), (1, 1), (2, 0)]
    tenant.owner.execute("delete from public.projects where id = %s", line[2]["id"])
    assert [level(tenant, p) for p in (line[1], line[3])] == [(0, 0), (0, 0)]


def test_a_tree_goes_with_its_conversation(tenant: Tenant) -> None:
    conversation, _ = tree(tenant, 3)
    tenant.owner.execute("delete from public.agent_conversations where id = %s", conversation)
    assert tenant.owner.rows("select from public.projects") == []


def test_a_tree_is_at_most_five_deep(tenant: Tenant) -> None:
    conversation, line = tree(tenant, 5)
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        add(tenant.owner, conversation, parent_project_id=line[-1]["id"])
    assert caught.value.diag.constraint_name == "hierarchy_is_at_most_five_deep"


def test_a_parent_is_of_the_same_organization_and_stays(world: World, tenant: Tenant) -> None:
    other = world.tenant()
    user = tenant.join("member", other.join("member"))
    foreign, own = add(user, other.conversation(user)), add(user, tenant.conversation(user))
    for parent in (foreign["id"], uuid.uuid4()):
        with refused("PT404", "project_not_found"):
            add(user, tenant.conversation(user), parent_project_id=parent)
    child = add(user, tenant.conversation(user), parent_project_id=own["id"])
    for parent in (child["id"], foreign["id"]):
        with refused("PT409", "parent_is_fixed"):
            world.service.update("projects", {"id": own["id"]}, parent_project_id=parent)
    with refused("42501"):
        user.update("projects", {"id": child["id"]}, parent_project_id=None)


def test_a_project_that_leaves_its_parent_is_not_counted_there(tenant: Tenant) -> None:
    _, line = tree(tenant, 1)
    tenant.world.service.update("projects", {"id": line[1]["id"]}, parent_project_id=None)
    assert [level(tenant, p) for p in line] == [(0, 0), (0, 0)]


def test_ten_subprojects_at_once_are_all_counted(tenant: Tenant) -> None:
    conversation, (parent,) = tree(tenant, 0)
    results = in_parallel(
        [tenant.owner] * 10, lambda s: [add(s, conversation, parent_project_id=parent["id"]) for _ in range(3)]
    )
    assert [r for r in results if isinstance(r, psycopg.Error)] == []
    assert level(tenant, parent) == (0, 30)


def test_a_subproject_that_waited_for_another_is_counted_too(tenant: Tenant) -> None:
    conversation, (parent,) = tree(tenant, 0)

    def insert(session: Session) -> None:
        session.connection.execute(
            "insert into public.projects (conversation_id, parent_project_id) values (%s, %s)",
            [conversation, parent["id"]],
        )

    def also(session: Session) -> None:
        with session.transaction():
            insert(session)

    assert when_it_waited(tenant.owner, insert, tenant.owner, also) is None
    assert level(tenant, parent) == (0, 2)


# Steps


def add_step(tenant: Tenant, project: Row, name: str, index: int, **columns: Any) -> Row:
    row = {"step_type": "agent", "step_name": name, **columns}
    return tenant.world.service.insert("project_steps", project_id=project["id"], step_id=name, step_index=index, **row)


def test_steps_are_once_in_a_project_and_do_not_wait_for_themselves(tenant: Tenant) -> None:
    project = add(tenant.owner, tenant.conversation())
    add_step(tenant, project, "a", 0)
    for name, index in (("a", 1), ("b", 0)):
        with refused("23505"):
            add_step(tenant, project, name, index)
    with refused("23514"):
        add_step(tenant, project, "c", 2, dependencies=["a", "c"])
    with refused("23514"):
        add_step(tenant, project, "c", 2, step_type="magic")


def test_progress_counts_steps_tasks_and_deliverables(tenant: Tenant) -> None:
    service = tenant.world.service
    project = add(tenant.owner, tenant.conversation())
    ends = {"a": ["in_progress", "completed"], "b": ["skipped"], "c": ["in_progress", "failed"], "d": []}
    for index, (name, moves) in enumerate(ends.items()):
        made = add_step(tenant, project, name, index, status="ready")
        for status in moves:
            service.update("project_steps", {"id": made["id"]}, status=status)
        task_id = tenant.task()
        service.update("tasks", {"id": task_id}, project_step_id=made["id"])
        row = {"organization_slug": tenant.slug, "user_id": tenant.owner.id, "title": "T", "type": "text"}
        service.insert("deliverables", project_step_id=made["id"], **row)
    worker = tenant.world.worker()
    assert worker.complete(worker.claim_one(tenant)) == "ok"
    empty = add(tenant.owner, tenant.conversation())
    numbers = ["total_steps", "completed_steps", "total_tasks", "completed_tasks", "deliverable_count", "progress"]
    seen = {r["id"]: [r[n] for n in numbers] for r in tenant.owner.rows("select * from public.project_progress")}
    assert seen == {project["id"]: [4, 1, 4, 1, 4, 50], empty["id"]: [0, 0, 0, 0, 0, 0]}
    reader = tenant.join("viewer").row("select * from public.project_progress where id = %s", project["id"])
    assert [reader[n] for n in numbers] == [4, 1, 0, 0, 0, 50]  # the tasks are not the viewer's to see
    assert tenant.world.tenant().owner.rows("select from public.project_progress") == []
