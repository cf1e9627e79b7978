"""The types of steps: templates, maps, subprojects, questions to people, and programs as a worker sees them.

Over 400 lines, because the types share templates, results and the ways to fail.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.database.kit import Row, Tenant, Worker, World, refused
from tests.database.pauses import reap
from tests.database.project_kit import (
    Project,
    agent_step,
    claim_all,
    finish,
    new_project,
    nothing_left,
    play,
    started,
)

LARGE = "x" * 100_001


# Templates


def test_templates_use_results_of_steps_before(tenant: Tenant, worker: Worker) -> None:
    prompt = (
        "A said {{ steps.a.result }}, b said {{steps.b.result.words.1}}"
        " and {{ steps.b.result }}; {{ steps.b.result.none }}."
    )
    params = {
        "all": "{{ steps.b.result }}",
        "n": ["{{ steps.b.result.n }}", "n={{ steps.b.result.n }}", 5],
        "no": "{{ steps.a.result.x }}",
    }
    steps = [
        agent_step(tenant, "a"),
        agent_step(tenant, "b", "a"),
        agent_step(tenant, "c", "b", prompt=prompt, params=params),
    ]
    project = started(tenant, steps)
    said = {"words": ["sand", "{{ steps.a.result }}"], "n": 7}
    play(worker, project, {"a": "hello", "b": said})
    (task,) = project.tasks("c")
    quoted = json.dumps(said)
    assert json.loads(task["prompt"].split(" and ")[1].removesuffix("; .")) == json.loads(quoted)
    assert task["prompt"].startswith("A said hello, b said {{ steps.a.result }} and ")
    assert task["params"] == {"all": said, "n": [7, "n=7", 5], "no": None}


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("steps.c.result", "does not depend on"),
        ("steps.b.result", "does not depend on"),
        ("steps.d.result", "does not depend on"),
        ("steps.z.result", "not in the plan"),
        ("steps.a", "which is not steps.ID.result"),
        ("steps.a.status", "which is not steps.ID.result"),
        ("item", "which is not steps.ID.result"),
        ("a.result", "which is not steps.ID.result"),
        ("", "which is not steps.ID.result"),
        ("steps.a.result | upper", "which is not steps.ID.result"),
        ("steps.a.result" + "." * 3, "which is not steps.ID.result"),
    ],
)
@pytest.mark.parametrize("key", ["prompt", "params"])
def test_a_template_names_only_what_is_before_it(tenant: Tenant, expression: str, why: str, key: str) -> None:
    text = f"Say {{{{ {expression} }}}}."
    steps = [
        agent_step(tenant, "a"),
        agent_step(tenant, "b", "a"),
        agent_step(tenant, "c", "a"),
        agent_step(tenant, "d", "c"),
    ]
    steps[2][key] = text if key == "prompt" else {"deep": [text]}
    with refused("22023", "plan_invalid") as refusal:
        new_project(tenant, steps)
    assert '"c"' in refusal.detail
    assert why in refusal.detail


@pytest.mark.parametrize(
    "program", [".steps.b.result", '.steps["b"].result', '.steps."b".result', '1 + .steps.["b"].result.x']
)
@pytest.mark.parametrize("key", ["condition", "transform"])
def test_a_program_names_only_what_is_before_it(tenant: Tenant, program: str, key: str) -> None:
    steps: list[Row] = [
        agent_step(tenant, "a"),
        agent_step(tenant, "b"),
        {"id": "c", "type": "transform", "transform": ".", "dependencies": ["a"]},
    ]
    with refused("22023", "plan_invalid") as refusal:
        new_project(tenant, [*steps[:2], steps[2] | {key: program}])
    assert 'step "c" names the result of step "b"' in refusal.detail
    assert new_project(tenant, [*steps[:2], steps[2] | {key: program, "dependencies": ["b"]}]).status == "planning"


def test_steps_far_before_may_be_named_in_a_plan_of_ten_thousand(tenant: Tenant) -> None:
    steps = [agent_step(tenant, f"s{n}", *([f"s{n - 1}"] if n else [])) for n in range(10_000)]
    for n in range(2000, 10_000):
        steps[n]["prompt"] = f"{{{{ steps.s{n - 1000}.result }}}} {{{{ steps.s0.result }}}}"
    with tenant.owner.transaction(keep=False) as connection:
        connection.execute("set local statement_timeout = '8s'")
        query = "insert into public.projects (conversation_id, plan_json) values (%s, %s)"
        connection.execute(query, [tenant.conversation(), json.dumps({"steps": steps})])
        assert connection.execute("select total_steps from public.projects").fetchall() == [{"total_steps": 10_000}]


def test_what_is_too_large_is_referred_to(tenant: Tenant, worker: Worker) -> None:
    later = agent_step(
        tenant,
        "b",
        "a",
        prompt="Read: {{ steps.a.result }}",
        params={"a": "{{ steps.a.result }}", "part": "{{ steps.a.result.short }}"},
    )
    project = started(tenant, [agent_step(tenant, "a"), later])
    play(worker, project, {"a": {"long": LARGE, "short": "s"}})
    first, (task,) = project.tasks("a")[0], project.tasks("b")
    size = project.steps()["a"]["result"]["bytes"]
    assert (
        task["prompt"]
        == f'Read: [The result of step "a" has {size} bytes, too many to stand here; it is kept in task {first["id"]}.]'
    )
    assert task["params"] == {"a": {"$ref": {"step_id": "a", "task_id": str(first["id"]), "bytes": size}}, "part": "s"}


def test_too_much_for_one_prompt_fails_the_step(tenant: Tenant, worker: Worker) -> None:
    prompt = "".join(f"{{{{ steps.a.result.{n} }}}}" for n in range(12))
    project = started(tenant, [agent_step(tenant, "a"), agent_step(tenant, "b", "a", prompt=prompt)])
    play(worker, project, {"a": ["y" * 99_000] * 12})
    assert project.status == "failed"
    assert project.read()["error_details"]["error_code"] == "result_too_large"
    assert "1048576" in project.read()["error_details"]["error_message"]


def test_nothing_left_of_a_prompt_fails_the_step(tenant: Tenant, worker: Worker) -> None:
    project = started(
        tenant, [agent_step(tenant, "a"), agent_step(tenant, "b", "a", prompt="{{ steps.a.result.none }}")]
    )
    play(worker, project, {"a": {}})
    assert project.read()["error_details"]["error_code"] == "prompt_empty"


@pytest.mark.parametrize(
    "text",
    ["[" * 100 + "]" * 100, "1e400", "[" * 20_000, "{", "", "nul"],
    ids=["deep", "huge", "abyss", "broken", "empty", "word"],
)
def test_a_response_that_is_no_plain_json_is_a_text(tenant: Tenant, worker: Worker, text: str) -> None:
    project = started(
        tenant,
        [
            agent_step(tenant, "a"),
            agent_step(tenant, "b", "a", prompt="[{{ steps.a.result }}]", params={"p": "{{ steps.a.result }}"}),
        ],
    )
    play(worker, project, {"a": text})
    assert (project.status, project.result("a")) == ("completed", text)
    assert project.tasks("b")[0]["params"] == {"p": text}


# Maps


def over(tenant: Tenant, **more: Any) -> list[Row]:
    item = {
        "id": "m",
        "type": "map",
        "agent": tenant.agent,
        "over": "list",
        "prompt": "{{ index }}: {{ item }}",
        "dependencies": ["list"],
    }
    return [agent_step(tenant, "list"), item | more, agent_step(tenant, "end", "m", prompt="{{ steps.m.result }}")]


def test_a_map_makes_a_task_for_each_element_and_gathers_in_order(tenant: Tenant, worker: Worker) -> None:
    params = {"name": "{{ item.name }}", "of": "{{ steps.list.result.1.name }}", "place": "{{ index }}"}
    project = started(tenant, over(tenant, prompt="{{ index }}: {{ item.name }}", params=params))
    elements = [{"name": "ä"}, {"name": "b"}, {"name": "c"}]
    finish(worker, worker.claim_one(tenant), elements)
    assert project.states()["m"] == "in_progress"
    leases = claim_all(worker, tenant)
    assert [leases[f"m:{n}"]["task"]["prompt"] for n in range(3)] == ["0: ä", "1: b", "2: c"]
    assert leases["m:2"]["task"]["params"] == {"name": "c", "of": "b", "place": 2}
    for name in ("m:2", "m:0"):
        finish(worker, leases[name], {"did": name})
    assert project.states()["end"] == "pending"
    finish(worker, leases["m:1"], "text")
    assert project.result("m") == [{"did": "m:0"}, "text", {"did": "m:2"}]
    end = worker.claim_one(tenant)
    assert json.loads(end["task"]["prompt"]) == [{"did": "m:0"}, "text", {"did": "m:2"}]
    finish(worker, end)
    assert (project.status, project.read()["total_steps"]) == ("completed", 3)


def test_a_map_over_nothing_is_done_at_once(tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, over(tenant))
    assert play(worker, project, {"list": []}) == [["list"], ["end"]]
    assert (project.status, project.result("m")) == ("completed", [])
    assert project.tasks("end")[0]["prompt"] == "[]"


@pytest.mark.parametrize(
    ("result", "code"),
    [
        ("text", "map_not_a_list"),
        ({"a": 1}, "map_not_a_list"),
        (None, "map_not_a_list"),
        (list(range(1001)), "map_too_long"),
    ],
    ids=["text", "object", "null", "long"],
)
def test_a_map_needs_a_list_that_is_not_too_long(tenant: Tenant, worker: Worker, result: Any, code: str) -> None:
    project = started(tenant, over(tenant))
    play(worker, project, {"list": result})
    assert project.read()["error_details"]["error_code"] == code
    assert project.tasks("m") == []


def test_a_map_goes_over_a_thousand_elements_of_a_part_of_a_large_result(tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, over(tenant, over="{{ steps.list.result.parts }}"))
    finish(worker, worker.claim_one(tenant), {"parts": ["z" * 200] * 1000})
    leases = worker.claim(tenant, 1000)
    assert len(leases) == 1000
    items = [
        {"task_id": x["task"]["id"], "attempt": 1, "lease_token": x["lease_token"], "response": "1"} for x in leases
    ]
    assert set(worker.report("complete_tasks", *items)) == {"ok"}
    assert project.result("m") == [1] * 1000


def test_an_element_that_fails_fails_its_map_and_a_retry_does_only_what_is_missing(
    tenant: Tenant, worker: Worker
) -> None:
    project = started(tenant, over(tenant))
    finish(worker, worker.claim_one(tenant), list("abcd"))
    leases = {lease["task"]["prompt"][3]: lease for lease in worker.claim(tenant, 3)}
    assert sorted(leases) == ["a", "b", "c"]
    finish(worker, leases["a"], "A")
    worker.fail(leases["b"], error_message="No.")
    details = project.steps()["m"]["error_details"]
    assert (project.states()["m"], details["error_message"]) == ("failed", "Element 1: No.")
    assert worker.claim(tenant, 10) == [], "d is withdrawn"
    finish(worker, leases["c"], "C")
    project.do_step("retry", "m")
    again = {lease["task"]["prompt"][3]: lease for lease in worker.claim(tenant, 10)}
    assert sorted(again) == ["b", "d"]
    for name, lease in again.items():
        finish(worker, lease, name.upper())
    assert project.result("m") == ["A", "B", "C", "D"]
    play(worker, project)
    assert project.status == "completed"


def test_a_map_is_paused_resumed_and_cancelled(tenant: Tenant, worker: Worker, world: World) -> None:
    project = started(tenant, over(tenant))
    finish(worker, worker.claim_one(tenant), list("abcd"))
    (first,) = worker.claim(tenant, 1)
    project.do("pause")
    assert worker.claim(tenant, 10) == []
    project.do("resume")
    assert len(worker.claim(tenant, 10)) == 3, "what was withdrawn, beside what runs"
    project.do("pause")
    finish(worker, first)
    project.do("resume")
    assert project.states()["m"] == "in_progress"
    project.do("cancel")
    assert project.states()["m"] == "cancelled"
    assert nothing_left(world, tenant)


def test_a_map_all_of_which_was_withdrawn_is_ready_again(tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, over(tenant))
    finish(worker, worker.claim_one(tenant), list("ab"))
    project.do("pause")
    assert project.states()["m"] == "ready"
    project.do("resume")
    assert play(worker, project) == [["m:0", "m:1"], ["end"]]
    assert project.status == "completed"


# Subprojects


def below(*steps: Row, **more: Any) -> Row:
    return {
        "id": "sub",
        "type": "subproject",
        "name": "Below",
        "plan": {"steps": list(steps)},
        "dependencies": ["a"],
    } | more


def test_a_subproject_carries_out_a_step(tenant: Tenant, worker: Worker) -> None:
    inner = [agent_step(tenant, "x"), agent_step(tenant, "y", "x"), agent_step(tenant, "z", "x")]
    last = agent_step(tenant, "end", "sub", prompt="{{ steps.sub.result.y }}")
    user = tenant.join("member")
    project = started(tenant, [agent_step(tenant, "a"), below(*inner), last], user)
    finish(worker, worker.claim_one(tenant))
    (child,) = project.children()
    row = child.read()
    assert (row["name"], row["status"], row["hierarchy_level"], row["user_id"]) == (
        "Below",
        "running",
        1,
        project.read()["user_id"],
    )
    assert (row["project_step_id"], row["conversation_id"]) == (
        project.steps()["sub"]["id"],
        project.read()["conversation_id"],
    )
    assert (project.read()["subproject_count"], project.states()["sub"]) == (1, "in_progress")
    assert play(worker, project, {"y": "Y", "z": [1]}) == [["x"], ["y", "z"], ["end"]]
    assert project.result("sub") == {"y": "Y", "z": [1]}
    assert (project.tasks("end")[0]["prompt"], project.status, child.status) == ("Y", "completed", "completed")


def test_a_subproject_fails_its_step_and_goes_on_with_it(tenant: Tenant, worker: Worker) -> None:
    inner = [agent_step(tenant, "x"), agent_step(tenant, "y", "x")]
    project = started(tenant, [agent_step(tenant, "a"), below(*inner)])
    play(worker, project, {"y": ValueError("No.")})
    (child,) = project.children()
    details = project.read()["error_details"]
    assert (project.status, child.status) == ("failed", "failed")
    assert (details["step_id"], details["error_message"], details["project_id"]) == ("sub", 'Step "y": No.', child.id)
    with refused("PT409", "illegal_move") as refusal:
        child.do("resume")
    assert "retry_project_step" in refusal.hint
    project.do("resume")
    assert play(worker, project) == [["y"]]
    assert (project.status, len(project.children())) == ("completed", 1)


def test_what_is_below_pauses_goes_on_and_is_cancelled_with_what_is_above(
    tenant: Tenant, worker: Worker, world: World
) -> None:
    deep = below(agent_step(tenant, "x"), agent_step(tenant, "y", "x"), id="deep", dependencies=[])
    project = started(tenant, [agent_step(tenant, "a"), below(deep), agent_step(tenant, "b", "a")])
    finish(worker, worker.claim_one(tenant))
    (child,) = project.children()
    (lowest,) = child.children()
    assert lowest.read()["hierarchy_level"] == 2
    project.do("pause")
    assert (child.status, lowest.status, worker.claim(tenant)) == ("paused", "paused", [])
    project.do("resume")
    assert (child.status, lowest.status) == ("running", "running")
    leases = claim_all(worker, tenant)
    assert sorted(leases) == ["b", "x"]
    worker.fail(leases["b"])
    assert (project.status, child.status, lowest.status) == ("failed", "paused", "paused")
    finish(worker, leases["x"])
    project.do("cancel")
    assert {child.status, lowest.status, lowest.states()["y"]} == {"cancelled"}
    assert nothing_left(world, tenant)


def test_cancelling_or_skipping_a_subproject(tenant: Tenant, worker: Worker) -> None:
    step = below(agent_step(tenant, "x"))
    project = started(tenant, [agent_step(tenant, "a"), step, agent_step(tenant, "end", "sub")])
    finish(worker, worker.claim_one(tenant))
    project.children()[0].do("cancel")
    assert (project.status, project.read()["error_details"]["error_code"]) == ("failed", "subproject_cancelled")
    project.do_step("retry", "sub")
    assert len(project.children()) == 2
    project.do_step("skip", "sub")
    assert project.children()[1].status == "cancelled"
    assert play(worker, project) == [["end"]]
    assert project.status == "completed"


def nested(tenant: Tenant, depth: int) -> list[Row]:
    return [agent_step(tenant, "x")] if depth == 0 else [below(*nested(tenant, depth - 1), dependencies=[])]


def test_plans_are_nested_at_most_five_deep(tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, nested(tenant, 5))
    assert play(worker, project) == [["x"]]
    assert project.status == "completed"
    with refused("22023", "plan_invalid") as refusal:
        new_project(tenant, nested(tenant, 6))
    assert "5 deep" in refusal.detail
    with refused("22023", "plan_invalid"):
        new_project(tenant, nested(tenant, 5), parent_project_id=new_project(tenant, nested(tenant, 0)).id)


def test_a_plan_below_is_checked_with_the_plan_above(tenant: Tenant) -> None:
    for inner in ([agent_step(tenant, "x", "x")], [], [{"id": "x", "agent": "no-such-agent"}]):
        with refused("PT404" if inner and inner[0]["agent"] != tenant.agent else "22023"):
            new_project(tenant, [agent_step(tenant, "a"), below(*inner)])
    many = [agent_step(tenant, f"s{n}") for n in range(5000)]
    with refused("22023", "plan_invalid") as refusal:
        new_project(tenant, [agent_step(tenant, "a"), below(*many), below(*many, id="sub2")])
    assert "10000" in refusal.detail


# People


def asking(**more: Any) -> Row:
    return {"id": "q", "type": "human_approval", "prompt": "May I?"} | more


def test_an_approval_lets_the_project_go_on(tenant: Tenant, worker: Worker) -> None:
    edited = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    steps = [
        agent_step(tenant, "a"),
        asking(dependencies=["a"], prompt="Is {{ steps.a.result }} right?", schema=edited),
    ]
    project = started(tenant, [*steps, agent_step(tenant, "end", "q", prompt="{{ steps.q.result.text }}")])
    play(worker, project, {"a": "this"})
    question = project.question("q")
    assert (question["prompt"], question["request_type"], question["task_id"]) == ("Is this right?", "approval", None)
    assert (project.states()["q"], project.status, project.read()["current_step_id"]) == (
        "awaiting_input",
        "running",
        "q",
    )
    for bad in ({"approved": True}, {"approved": "yes", "text": "t"}, {"text": "t"}, True):
        with refused("22023", "response_does_not_fit"):
            project.answer("q", bad)
    project.answer("q", {"approved": True, "text": "that"})
    assert project.result("q") == {"approved": True, "text": "that"}
    with refused("PT409", "input_request_closed"):
        project.answer("q", {"approved": False, "text": "that"})
    assert play(worker, project) == [["end"]]
    assert (project.tasks("end")[0]["prompt"], project.status) == ("that", "completed")


def test_what_is_not_approved_fails_or_goes_on(tenant: Tenant, worker: Worker) -> None:
    for policy, status in (("stop", "failed"), ("continue", "completed")):
        project = started(tenant, [asking(on_failure=policy), agent_step(tenant, "end", "q")])
        project.answer("q", {"approved": False, "why": "Too long."})
        assert project.steps()["q"]["error_details"]["error_code"] == "not_approved"
        play(worker, project)
        assert project.status == status
    project = started(tenant, [asking()])
    project.answer("q", {"approved": False})
    project.do("resume")
    assert project.question("q")["status"] == "pending", "asked again"
    project.answer("q", {"approved": True})
    assert project.status == "completed"


def test_input_of_a_schema(tenant: Tenant) -> None:
    step = {"id": "q", "type": "human_input", "prompt": "How many?", "schema": {"type": "integer", "minimum": 1}}
    project = started(tenant, [step])
    with refused("22023", "response_does_not_fit"):
        project.answer("q", 0)
    project.answer("q", 3)
    assert (project.result("q"), project.status) == (3, "completed")


def test_who_may_answer(tenant: Tenant) -> None:
    user, member, developer, admin = (
        tenant.join("member"),
        tenant.join("member"),
        tenant.join("developer"),
        tenant.join("admin"),
    )
    yes = {"approved": True}

    def ask(**more: Any) -> Project:
        return started(tenant, [asking(**more), agent_step(tenant, "end", "q")], user)

    project = ask()
    for other in (member, developer, tenant.world.tenant().owner):
        with refused("PT404", "input_request_not_found"):
            project.answer("q", yes, other)
        assert other.rows("select from public.input_requests where id = %s", project.question("q")["id"]) == []
    assert len(user.rows("select from public.input_requests where id = %s", project.question("q")["id"])) == 1
    project.answer("q", yes, user)
    ask().answer("q", yes, admin)
    project = ask(required_role="developer")
    for other in (user, member):
        with refused("PT404", "input_request_not_found"):
            project.answer("q", yes, other)
    project.answer("q", yes, developer)
    (task,) = project.tasks("end")
    assert str(task["user_id"]) == user.id


@pytest.mark.parametrize(
    ("policy", "outcome"),
    [
        ("fail", ("failed", "failed", None)),
        ("skip", ("skipped", "running", None)),
        ("approve", ("completed", "running", {"approved": True, "expired": True})),
    ],
)
def test_what_happens_when_nobody_answers(
    tenant: Tenant, worker: Worker, policy: str, outcome: tuple[str, str, Any]
) -> None:
    project = started(tenant, [asking(expires_in_seconds=60, on_expiry=policy), agent_step(tenant, "end", "q")])
    reap(worker)
    assert project.states()["q"] == "awaiting_input"
    key = {"id": project.question("q")["id"]}
    tenant.world.admin.update("input_requests", key, expires_at="2020-01-01")
    reap(worker)
    assert (project.states()["q"], project.status, project.result("q")) == outcome
    assert project.question("q")["status"] == "expired"
    if policy == "fail":
        assert project.read()["error_details"]["error_code"] == "input_expired"
    else:
        assert play(worker, project) == [["end"]]
        assert project.status == "completed"
    with refused("PT409", "input_request_closed"):
        project.answer("q", {"approved": True})


# Programs


def program(worker: Worker, lease: Row) -> Any:
    """Read what a worker is to compute, as it does."""
    return worker.session.call("read_step_input", task_id=lease["task"]["id"], lease_token=lease["lease_token"])


def test_a_transform_is_an_internal_task_whose_input_only_its_holder_reads(tenant: Tenant, worker: Worker) -> None:
    steps = [
        agent_step(tenant, "far"),
        agent_step(tenant, "a", "far"),
        agent_step(tenant, "b", "far"),
        agent_step(tenant, "no", "far"),
    ]
    steps.append(
        {"id": "t", "type": "transform", "transform": ".steps.far.result + .steps.a.result", "dependencies": ["a", "b"]}
    )
    project = started(tenant, [*steps, agent_step(tenant, "end", "t", prompt="{{ steps.t.result.n }}")])
    while (leases := claim_all(worker, tenant)) and "t" not in leases:
        for name, lease in leases.items():
            finish(worker, lease, {name: 1})
    lease = leases["t"]
    assert (lease["task"]["method"], lease["task"]["agent_slug"]) == ("evaluate_step", None)
    assert tenant.owner.rows("select from public.tasks where method = 'evaluate_step'") == [], "hidden"
    assert program(worker, lease) == {
        "kind": "transform",
        "program": ".steps.far.result + .steps.a.result",
        "steps": {name: {"status": "completed", "result": {name: 1}} for name in ("a", "b", "far")},
    }
    assert program(worker, lease | {"lease_token": lease["task"]["id"]}) is None
    assert program(worker.on(worker.session.at("1 hour")), lease) is None, "the lease has run out"
    with refused("42501"):
        tenant.owner.call("read_step_input", task_id=lease["task"]["id"], lease_token=lease["lease_token"])
    finish(worker, lease, {"n": 5})
    assert program(worker, lease) is None
    assert play(worker, project) == [["end"]]
    assert (project.tasks("end")[0]["prompt"], project.result("t")) == ("5", {"n": 5})


@pytest.mark.parametrize("kind", ["agent", "transform", "human_approval", "map", "subproject"])
def test_a_condition_is_asked_first_and_skips_or_starts(tenant: Tenant, worker: Worker, kind: str) -> None:
    more: dict[str, Row] = {
        "agent": {"agent": tenant.agent},
        "transform": {"transform": "1"},
        "human_approval": {},
        "map": {"agent": tenant.agent, "over": "a", "prompt": "{{ item }}"},
        "subproject": {"plan": {"steps": [agent_step(tenant, "x")]}},
    }
    step = {"id": "c", "type": kind, "condition": '.steps.a.status == "completed"', "dependencies": ["a"]} | more[kind]
    for holds in (True, False):
        project = started(tenant, [agent_step(tenant, "a"), step, agent_step(tenant, "end", "c")])
        finish(worker, worker.claim_one(tenant), ["element"])
        lease = worker.claim_one(tenant)
        assert program(worker, lease)["kind"] == "condition"
        assert program(worker, lease)["steps"]["a"] == {"status": "completed", "result": ["element"]}
        finish(worker, lease, holds)
        if not holds:
            assert project.states()["c"] == "skipped"
        elif kind == "human_approval":
            project.answer("c", {"approved": True})
        else:
            assert project.states()["c"] in {"ready", "in_progress"}
            rounds = play(worker, project)
            assert rounds[0] == [{"map": "c:0", "subproject": "x"}.get(kind, "c")]
        play(worker, project)
        assert (project.status, project.states()["end"]) == ("completed", "completed")


def test_a_condition_that_cannot_be_computed_fails_the_step_and_is_asked_again(tenant: Tenant, worker: Worker) -> None:
    project = started(tenant, [agent_step(tenant, "a", condition=".x")])
    worker.fail(worker.claim_one(tenant), error_code="program_failed")
    assert project.read()["error_details"]["error_code"] == "program_failed"
    project.do("resume")
    lease = worker.claim_one(tenant)
    assert program(worker, lease)["kind"] == "condition"
    finish(worker, lease, True)
    assert play(worker, project) == [["a"]]
    assert project.status == "completed"


def test_results_that_are_too_large_are_not_handed_to_programs(tenant: Tenant, worker: Worker) -> None:
    step = {"id": "t", "type": "transform", "transform": ".", "dependencies": ["a", "b"]}
    project = started(tenant, [agent_step(tenant, "a"), agent_step(tenant, "b"), step])
    for lease in claim_all(worker, tenant).values():
        finish(worker, lease, "y" * 2_000_001)
    answer = program(worker, worker.claim_one(tenant))
    assert answer["error_code"] == "result_too_large"
    assert "4000002 bytes" in answer["error_message"]
    assert project.states()["t"] == "in_progress"
