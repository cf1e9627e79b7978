"""The orchestrator: talking to it, its agents, what they cost and remember, and what stops it.

Over 400 lines, because what a person, a turn and a command do is seen by each of the others.
"""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Tenant, Worker, World, in_parallel, refused, when_it_waited
from tests.database.orchestrator_kit import (
    USAGE,
    ask,
    boss,
    fence,
    instance,
    messages,
    pause_for,
    say,
    tool,
    turn,
)
from tests.database.pauses import reap
from tests.database.scoped_kit import scoped


def ledger(tenant: Tenant, column: str, value: Any) -> Row:
    """Add up what the ledger has for the tasks of an orchestrator or an instance."""
    own = "and o.agent_instance_id is null" if column == "orchestrator_agent_id" else ""
    return tenant.world.admin.row(
        "select coalesce(sum(u.input_tokens), 0) as input_tokens, coalesce(sum(u.output_tokens), 0) as output_tokens,"
        " coalesce(sum(u.cost), 0) as total_cost from private.orchestrator_tasks o"
        f" join public.usage_events u on u.task_id = o.task_id where o.{column} = %s {own}",
        value,
    )


def counters(row: Row) -> Row:
    return {name: row[name] for name in ("input_tokens", "output_tokens", "total_cost")}


def made(tenant: Tenant, worker: Worker, name: str = "writer", **arguments: Any) -> Row:
    """Have a turn create an agent, and end; return the agent."""
    lease = turn(tenant, worker)
    assert tool(tenant, lease, "create_agent", "", name=name, **arguments) == {
        "created": name,
        "note": "Command it to let it do something.",
    }
    assert worker.complete(lease) == "ok"
    return instance(tenant, name)


def test_the_first_message_makes_the_orchestrator_its_agent_and_a_turn(tenant: Tenant, worker: Worker) -> None:
    member = tenant.join("member")
    told = say(tenant, "Write a long post about the tides of the North Sea. Thanks!", member)
    row = boss(tenant)
    assert (str(row["id"]), row["status"], row["archived"]) == (told["orchestrator_agent_id"], "executing", False)
    agent = tenant.world.admin.row("select * from public.agents where slug = %s", row["agent_slug"])
    assert agent["llm_config"] == {"provider": "anthropic", "model": "some-model", "tools": {"ask_person": {}}}
    lease = worker.claim_one(tenant)
    assert (lease["task"]["method"], lease["task"]["user_id"]) == ("orchestrate", member.id)
    assert lease["agent"]["slug"] == row["agent_slug"]
    begun = ask(tenant, lease, "begin")
    assert (begun["instance"], begun["history"], begun["transcript"]) == (None, [], None)
    assert worker.complete(lease, response="Done.", messages=[{"content": "Done."}], usage=USAGE) == "ok"
    row = boss(tenant)
    assert row["status"] == "idle"
    assert row["session_id"]
    assert counters(row) == ledger(tenant, "orchestrator_agent_id", row["id"])
    assert messages(tenant) == [
        ("user", "orchestrator", "Write a long post about the tides of the North Sea. Thanks!"),
        ("orchestrator", "user", "Done."),
    ]
    (prompt,) = member.rows("select * from public.prompts")
    assert (prompt["author"], prompt["summary"], str(prompt["task_id"])) == (
        "engineer",
        "Write a long post about the tides of the North Sea.",
        told["task_id"],
    )
    assert (
        prompt["task_slug"]
        == told["task_slug"]
        == ("write-a-long-post-about-the-tides-of-the-north-sea-" + told["task_id"][-8:])
    )
    lease = turn(tenant, worker, "More", user=member)
    assert [h["content"] for h in ask(tenant, lease, "begin")["history"]] == [messages(tenant)[0][2], "Done."]


def test_of_two_first_messages_one_makes_it_and_both_are_kept(tenant: Tenant, worker: Worker) -> None:
    people = [tenant.owner, tenant.join("member"), tenant.join("admin"), tenant.owner]
    told = in_parallel(people, lambda s: say(tenant, f"I am {s.id}", s))
    assert len({t["orchestrator_agent_id"] for t in told}) == 1
    assert len({t["task_id"] for t in told}) == 4
    assert len({t["conversation_id"] for t in told}) == 3
    assert tenant.owner.value("select count(*) from public.orchestrator_agents") == 1
    assert (
        tenant.world.admin.value(
            "select count(*) from public.agents where name = 'Orchestrator' and organization_slug @> %s", [tenant.slug]
        )
        == 1
    )
    (only,) = worker.claim(tenant, 10)
    assert worker.claim(tenant, 10) == [], "one turn at a time"
    assert only["task"]["id"] in {t["task_id"] for t in told}


def test_a_repeated_message_is_the_same(tenant: Tenant) -> None:
    told = in_parallel([tenant.owner] * 5, lambda s: say(tenant, "Once", s, idempotency_key="k"))
    assert all(t == told[0] for t in told)
    assert len(messages(tenant)) == 1
    assert say(tenant, "Once", tenant.join("member"), idempotency_key="k")["task_id"] != told[0]["task_id"]


def test_turns_and_commands_are_made_by_messages_alone(tenant: Tenant) -> None:
    for method in ("orchestrate", "command_agent"):
        for session, more in ((tenant.owner, {}), (tenant.world.service, {"user_id": tenant.owner.id})):
            with refused("22023", "method_needs_function"):
                tenant.task(session, method=method, **more)


@pytest.mark.parametrize("message", ["", "  \n", None])
def test_a_message_needs_words(tenant: Tenant, message: str | None) -> None:
    with refused("22023", "prompt_empty"):
        tenant.owner.call("message_orchestrator", organization_slug=tenant.slug, message=message)


def test_who_may_talk_and_steer(tenant: Tenant) -> None:
    stranger, viewer, member, admin = (
        tenant.world.user(),
        tenant.join("viewer"),
        tenant.join("member"),
        tenant.join("admin"),
    )
    for session in (stranger, viewer):
        with refused("42501", "not_allowed"):
            say(tenant, user=session)
        with refused("42501", "not_allowed"):
            session.call("interrupt_orchestrator", organization_slug=tenant.slug)
    with refused("42501", "user_id_is_not_yours"):
        say(tenant, user=member, user_id=admin.id)
    with refused("42501", "not_allowed"):
        tenant.world.service.call(
            "message_orchestrator", organization_slug=tenant.slug, message="x", user_id=stranger.id
        )
    for function in ("archive_orchestrator", "configure_orchestrator"):
        with refused("42501", "not_allowed"):
            member.call(function, organization_slug=tenant.slug)
    with refused("PT404", "orchestrator_not_found"):
        admin.call("archive_orchestrator", organization_slug=tenant.slug)
    row = admin.call("configure_orchestrator", organization_slug=tenant.slug, system_prompt="Be brief.")
    assert row["system_prompt"] == "Be brief."
    tenant.world.service.call("message_orchestrator", organization_slug=tenant.slug, message="x", user_id=member.id)


BAD_SETTINGS = [[], {"other": 1}, {"wake": 1}, {"max_instances": -1}, {"max_self_turns": 1.5}, {"max_tool_calls": 0}]


@pytest.mark.parametrize("settings", [*BAD_SETTINGS, {"max_cost": 0}, {"max_cost": "1"}], ids=str)
def test_settings_that_cannot_be_used_are_refused(scene: World, settings: Any) -> None:
    tenant = scene.tenant()
    with refused("22023", "orchestrator_settings_invalid"):
        tenant.owner.call("configure_orchestrator", organization_slug=tenant.slug, settings=Jsonb(settings))


def test_only_a_shared_context_agent_runs_it(tenant: Tenant) -> None:
    api = tenant.add_agent(agent_type="api", llm_config=None, endpoint={"url": "https://x.example/"})
    foreign = tenant.world.tenant().agent
    with refused("22023", "orchestrator_settings_invalid"):
        tenant.owner.call("configure_orchestrator", organization_slug=tenant.slug, agent_slug=api)
    with refused("PT404", "agent_not_found"):
        tenant.owner.call("configure_orchestrator", organization_slug=tenant.slug, agent_slug=foreign)
    row = tenant.owner.call("configure_orchestrator", organization_slug=tenant.slug, agent_slug=tenant.agent)
    assert row["agent_slug"] == tenant.agent
    tenant.owner.execute("delete from public.agents where slug = %s", tenant.agent)
    say(tenant)
    assert boss(tenant)["agent_slug"].startswith("orchestrator-"), "another one is made"


def test_a_tool_acts_once_for_each_call(tenant: Tenant, worker: Worker) -> None:
    lease = turn(tenant, worker)
    first = tool(tenant, lease, "create_agent", "c1", name="writer")
    assert tool(tenant, lease, "create_agent", "c1", name="writer") == first
    assert tool(tenant, lease, "create_agent", "c2", name="writer")["error"]["code"] == "agent_instance_exists"
    commanded = tool(tenant, lease, "command_agent", "c3", name="writer", prompt="Write.")
    assert tool(tenant, lease, "command_agent", "c3", name="writer", prompt="Write.") == commanded
    # The attempt is lost; the next one says the same calls again.
    assert worker.report("release_tasks", fence(lease)) == ["ok"]
    with refused("PT409", "lease_lost"):
        tool(tenant, lease, "command_agent", "c3", name="writer", prompt="Write.")
    again = worker.claim_one(tenant, methods=["orchestrate"])
    assert tool(tenant, again, "command_agent", "c3", name="writer", prompt="Write.") == commanded
    assert len(worker.claim(tenant, 10, methods=["command_agent"])) == 1


def test_a_turn_waits_for_its_command_and_goes_on(tenant: Tenant, worker: Worker) -> None:
    made(tenant, worker)
    lease = turn(tenant, worker)
    assert pause_for(worker, lease, "writer", "Write about tides.") == "ok"
    assert (boss(tenant)["status"], boss(tenant)["metadata"]) == ("waiting", {"waiting": {"for": "agents"}})
    assert instance(tenant)["status"] == "executing"
    command = worker.claim_one(tenant)
    assert (command["task"]["method"], command["task"]["prompt"]) == ("command_agent", "Write about tides.")
    assert command["agent"]["slug"] == boss(tenant)["agent_slug"]
    assert worker.complete(command, response="Tides rise.", usage=USAGE) == "ok"
    assert instance(tenant)["status"] == "idle"
    assert counters(instance(tenant)) == ledger(tenant, "agent_instance_id", instance(tenant)["id"])
    again = worker.claim_one(tenant)
    assert [c["response"] for c in again["agent_calls"]] == ["Tides rise."]
    assert (boss(tenant)["status"], again["task"]["id"]) == ("executing", lease["task"]["id"])
    assert worker.complete(again) == "ok"
    assert boss(tenant)["status"] == "idle"
    assert messages(tenant)[-2:] == [
        ("orchestrator", "agent", "Write about tides."),
        ("agent", "orchestrator", "Tides rise."),
    ]
    authors = tenant.owner.rows("select author, agent_id is null as own from public.prompts order by timestamp")
    assert [(row["author"], row["own"]) for row in authors[-1:]] == [("orchestrator_agent", False)]


def test_an_agent_that_there_is_not_is_told_to_the_turn(tenant: Tenant, worker: Worker) -> None:
    lease = turn(tenant, worker)
    assert pause_for(worker, lease, "nobody", "Write.") == "ok"
    again = worker.claim_one(tenant)
    assert [c["error_code"] for c in again["agent_calls"]] == ["agent_instance_not_found"]


def test_a_command_that_nobody_waits_for_wakes_the_orchestrator_until_its_limit(tenant: Tenant, worker: Worker) -> None:
    tenant.owner.call("configure_orchestrator", organization_slug=tenant.slug, settings=Jsonb({"max_self_turns": 2}))
    made(tenant, worker)
    lease = turn(tenant, worker)
    for number in range(3):
        tool(tenant, lease, "command_agent", name="writer", prompt=f"Part {number}")
        assert worker.complete(lease) == "ok"
        assert worker.complete(worker.claim_one(tenant), response=f"Text {number}") == "ok"
        if number < 2:
            lease = worker.claim_one(tenant)
            assert lease["task"]["method"] == "orchestrate"
            assert f"Text {number}" in lease["task"]["prompt"]
            assert lease["task"]["user_id"] == tenant.owner.id
    assert worker.claim(tenant) == []
    row = boss(tenant)
    assert (row["status"], row["metadata"]["blocked"]["reason"]) == ("blocked", "too_many_self_turns")
    assert messages(tenant)[-1] == ("agent", "orchestrator", "Text 2")
    lease = turn(tenant, worker, "Go on")
    assert (boss(tenant)["status"], "blocked" in boss(tenant)["metadata"]) == ("executing", False)
    assert "[agent writer] Text 2" in [h["content"] for h in ask(tenant, lease, "begin")["history"]]


def test_agents_that_wake_it_side_by_side_are_counted_together(tenant: Tenant, worker: Worker) -> None:
    tenant.owner.call("configure_orchestrator", organization_slug=tenant.slug, settings=Jsonb({"max_self_turns": 3}))
    lease = turn(tenant, worker)
    for name in ("a", "b"):
        tool(tenant, lease, "create_agent", name=name)
    turns = 0
    while True:
        for name in ("a", "b"):
            tool(tenant, lease, "command_agent", name=name, prompt="Write.")
        assert worker.complete(lease) == "ok"
        for command in worker.claim(tenant, 10, methods=["command_agent"]):
            assert worker.complete(command) == "ok"
        leases = worker.claim(tenant, methods=["orchestrate"])
        if not leases:
            break
        (lease,) = leases
        turns += 1
    assert (turns, boss(tenant)["metadata"]["blocked"]["reason"]) == (3, "too_many_self_turns")


def test_another_organizations_agent_hears_nothing(tenant: Tenant, worker: Worker) -> None:
    other = tenant.world.tenant()
    row = made(tenant, worker)
    say(other)
    for organization in (other.slug, tenant.slug):
        given = {"organization_slug": organization, "message": "x", "agent_instance_id": row["id"]}
        with pytest.raises(psycopg.Error) as caught:
            other.owner.call("message_orchestrator", **given)
        assert caught.value.diag.message_primary in {"agent_instance_not_found", "not_allowed"}


def test_it_does_not_wake_where_that_is_switched_off(tenant: Tenant, worker: Worker) -> None:
    tenant.owner.call("configure_orchestrator", organization_slug=tenant.slug, settings=Jsonb({"wake": False}))
    made(tenant, worker)
    lease = turn(tenant, worker)
    tool(tenant, lease, "command_agent", name="writer", prompt="Write.")
    assert worker.complete(lease) == worker.complete(worker.claim_one(tenant), response="Text") == "ok"
    assert (worker.claim(tenant), messages(tenant)[-1][2], boss(tenant)["status"]) == ([], "Text", "idle")


def test_calls_instances_and_names_have_limits(tenant: Tenant, worker: Worker) -> None:
    settings = {"max_instances": 1, "max_tool_calls": 4}
    tenant.owner.call("configure_orchestrator", organization_slug=tenant.slug, settings=Jsonb(settings))
    lease = turn(tenant, worker)
    codes = [
        tool(tenant, lease, "create_agent", name=name).get("error", {}).get("code")
        for name in ("a", "b", "../etc", "c", "d")
    ]
    assert codes == [None, "over_limit", "agent_name_invalid", "over_limit", "too_many_calls"]


def test_a_failure_blocks_and_says_why(tenant: Tenant, worker: Worker) -> None:
    made(tenant, worker)
    said = say(tenant, "Do it", agent_instance_id=instance(tenant)["id"])
    assert said["agent_instance_id"] == str(instance(tenant)["id"])
    lease = worker.claim_one(tenant)
    assert instance(tenant)["status"] == "executing"
    assert worker.fail(lease, error_code="limit_reached", error_message="Too much.", usage=USAGE) == "ok"
    row = instance(tenant)
    assert row["status"] == "blocked"
    assert row["metadata"]["blocked"] == {"reason": "limit_reached", "detail": "Too much.", "task_id": said["task_id"]}
    assert counters(row) == ledger(tenant, "agent_instance_id", row["id"])
    assert messages(tenant)[-2:] == [
        ("user", "agent", "Do it"),
        ("agent", "user", "It ended as failed: limit_reached: Too much."),
    ]
    tenant.owner.call("retry_task", task_id=said["task_id"])
    assert instance(tenant)["status"] == "executing"
    assert worker.complete(worker.claim_one(tenant), response="Now it is done.") == "ok"
    assert (instance(tenant)["status"], messages(tenant)[-1][2]) == ("idle", "Now it is done.")


def test_archived_agents_hear_nothing_and_leave_their_name(tenant: Tenant, worker: Worker) -> None:
    member, friend = tenant.join("member"), tenant.join("member")
    lease = turn(tenant, worker, user=member)
    tool(tenant, lease, "create_agent", name="writer")
    row = instance(tenant)
    say(tenant, "Do it", member, agent_instance_id=row["id"])
    with refused("42501", "not_allowed"):
        friend.call("archive_agent_instance", agent_instance_id=row["id"])
    archived = member.call("archive_agent_instance", agent_instance_id=row["id"])
    assert (archived["archived"], archived["status"]) == (True, "complete")
    assert member.call("archive_agent_instance", agent_instance_id=row["id"])["id"] == archived["id"]
    with refused("PT409", "agent_instance_archived"):
        say(tenant, "Again", member, agent_instance_id=row["id"])
    assert worker.claim(tenant, methods=["command_agent"]) == []
    assert (
        tool(tenant, lease, "command_agent", name="writer", prompt="x")["error"]["code"] == "agent_instance_not_found"
    )
    assert "created" in tool(tenant, lease, "create_agent", name="writer")
    stranger = tenant.world.tenant().owner
    for function in ("archive_agent_instance", "interrupt_agent_instance"):
        with refused("PT404", "agent_instance_not_found"):
            stranger.call(function, agent_instance_id=row["id"])


def test_interrupting_stops_what_is_the_callers(tenant: Tenant, worker: Worker) -> None:
    member, friend = tenant.join("member"), tenant.join("member")
    made(tenant, worker)
    own = say(tenant, "Mine", member, agent_instance_id=instance(tenant)["id"])
    lease = worker.claim_one(tenant)
    row = friend.call("interrupt_agent_instance", agent_instance_id=instance(tenant)["id"])
    assert (row["status"], tenant.read(own["task_id"])["status"]) == ("executing", "in_progress")
    row = member.call("interrupt_agent_instance", agent_instance_id=instance(tenant)["id"])
    assert (row["status"], tenant.read(own["task_id"])["status"]) == ("idle", "cancelled")
    assert worker.complete(lease) == "cancelled"
    lease = turn(tenant, worker, user=member)
    assert pause_for(worker, lease, "writer", "Write.") == "ok"
    assert friend.call("interrupt_orchestrator", organization_slug=tenant.slug)["status"] == "waiting"
    assert tenant.owner.call("interrupt_orchestrator", organization_slug=tenant.slug)["status"] == "idle"
    assert (worker.claim(tenant), instance(tenant)["status"]) == ([], "idle")


def test_an_archived_orchestrator_makes_room_for_another(tenant: Tenant, worker: Worker) -> None:
    made(tenant, worker)
    lease = turn(tenant, worker)
    tool(tenant, lease, "command_agent", name="writer", prompt="Write.")
    first = tenant.owner.call("archive_orchestrator", organization_slug=tenant.slug)
    assert (first["archived"], first["status"], instance(tenant)["archived"]) == (True, "complete", True)
    assert (worker.complete(lease), worker.claim(tenant)) == ("cancelled", [])
    assert say(tenant)["orchestrator_agent_id"] != first["id"]
    assert boss(tenant)["agent_slug"] == first["agent_slug"], "what it runs on stays"


def test_it_is_complete_when_it_says_so_and_works_again_when_asked(tenant: Tenant, worker: Worker) -> None:
    lease = turn(tenant, worker)
    tool(tenant, lease, "finish_job")
    assert worker.complete(lease) == "ok"
    assert boss(tenant)["status"] == "complete"
    say(tenant)
    assert boss(tenant)["status"] == "executing"


def test_asking_a_person_is_waiting_for_one(tenant: Tenant, worker: Worker) -> None:
    lease = turn(tenant, worker)
    assert worker.report("pause_task", fence(lease) | {"input_request": {"prompt": "Which?"}}) == ["ok"]
    assert (boss(tenant)["status"], boss(tenant)["metadata"]) == ("waiting", {"waiting": {"for": "person"}})
    say(tenant, "Meanwhile")
    assert boss(tenant)["status"] == "executing"
    assert worker.complete(worker.claim_one(tenant)) == "ok"
    assert boss(tenant)["status"] == "waiting"


def test_a_session_goes_on_and_is_compacted(tenant: Tenant, worker: Worker) -> None:
    made(tenant, worker)
    for number in range(4):
        say(tenant, f"Command {number}", agent_instance_id=instance(tenant)["id"])
        lease = worker.claim_one(tenant)
        begun = ask(tenant, lease, "begin")
        assert len(begun["session"]["entries"]) == min(number, 2) if number < 3 else 1
        text = "x" * 80_000
        ask(tenant, lease, "save", {"messages": [{"kind": "request", "parts": [text]}], "used": {}})
        assert worker.complete(lease, response=f"Answer {number}") == "ok"
    say(tenant, "Last", agent_instance_id=instance(tenant)["id"])
    session = ask(tenant, worker.claim_one(tenant), "begin")["session"]
    kept = [entry["prompt"] for entry in session["entries"]]
    assert kept[-1] == "Command 3"
    assert len(kept) < 4
    assert "- Command 0 -> Answer 0" in session["summary"]
    (hook,) = tenant.owner.rows("select * from public.agent_logs where event_type = 'PreCompact'")
    assert (hook["event_category"], hook["entry_index"]) == ("hook", 1)


def test_what_a_lost_attempt_saved_is_no_session(tenant: Tenant, worker: Worker) -> None:
    made(tenant, worker)
    say(tenant, "Do it", agent_instance_id=instance(tenant)["id"])
    lease = worker.claim_one(tenant)
    ask(tenant, lease, "save", {"messages": [], "used": {"requests": 1}})
    assert worker.fail(lease) == "ok"
    assert (
        tenant.world.admin.value(
            "select count(*) from private.agent_session_entries e join public.agent_instances i"
            " on i.id = e.agent_instance_id and i.id = %s",
            instance(tenant)["id"],
        )
        == 0
    )


def test_logs_are_dense_in_order_and_written_once(tenant: Tenant, worker: Worker) -> None:
    lease = turn(tenant, worker)
    entry = {"event_category": "hook", "event_type": "UserPromptSubmit", "content": "Go", "payload": {"a": 1}}
    text = {"event_category": "response", "event_type": "text", "content": "Well."}
    for _ in range(2):
        ask(tenant, lease, "log", {"number": 1, "entries": [entry, text]})
    ask(tenant, lease, "log", {"number": 2, "entries": [text, text]})
    assert worker.report("release_tasks", fence(lease)) == ["ok"]
    again = worker.claim_one(tenant)
    assert ask(tenant, again, "begin")["entries"] == 3
    ask(tenant, again, "log", {"number": 1, "entries": [text]})
    rows = tenant.owner.rows("select * from public.agent_logs order by entry_index")
    assert [row["entry_index"] for row in rows] == [1, 2, 3, 4]
    assert {str(row["task_id"]) for row in rows} == {lease["task"]["id"]}
    unreadable: list[Row] = [{"number": 1}, {"entries": []}, {"number": 1, "entries": [{}] * 501}]
    for bad in unreadable:
        with refused("22023", "log_entries_invalid"):
            ask(tenant, again, "log", bad)
    with refused("22023", "orchestrator_action_unknown"):
        ask(tenant, again, "dance")


def test_what_is_said_to_it_is_private_and_what_its_agents_do_is_the_members(tenant: Tenant, worker: Worker) -> None:
    member, friend, stranger = tenant.join("member"), tenant.join("member"), tenant.world.tenant().owner
    lease = turn(tenant, worker, "A secret", user=member)
    ask(tenant, lease, "log", {"number": 1, "entries": [{"event_category": "hook", "event_type": "Stop"}]})
    tool(tenant, lease, "create_agent", name="writer")
    tool(tenant, lease, "command_agent", name="writer", prompt="Write.")
    command = worker.claim_one(tenant, methods=["command_agent"])
    ask(tenant, command, "log", {"number": 1, "entries": [{"event_category": "hook", "event_type": "Stop"}]})
    seen = {
        name: (len(s.rows("select from public.prompts")), len(s.rows("select from public.agent_logs")))
        for name, s in {"member": member, "friend": friend, "owner": tenant.owner, "stranger": stranger}.items()
    }
    assert seen == {"member": (2, 2), "friend": (1, 1), "owner": (2, 2), "stranger": (0, 0)}


def test_tools_act_for_the_person_and_within_the_organization(tenant: Tenant, worker: Worker) -> None:
    member, other = tenant.join("member"), tenant.world.tenant()
    tenant.world.service.insert("system_logs", organization_slug=other.slug, level="ERROR", message="Theirs.")
    lease = turn(tenant, worker, user=member)
    told = {
        "create_agent": tool(tenant, lease, "create_agent", name="spy", agent_slug=other.agent),
        "delegate_task": tool(tenant, lease, "delegate_task", agent_slug=other.agent, prompt="Spy."),
        "plan_project": tool(tenant, lease, "plan_project", agent_slug=other.agent, prompt="Spy."),
        "read_system_logs": tool(tenant, lease, "read_system_logs"),
        "check_agent_status": tool(tenant, lease, "check_agent_status", name="writer"),
        "dance": tool(tenant, lease, "dance"),
    }
    assert {name: answer["error"]["code"] for name, answer in told.items()} == {
        "create_agent": "agent_not_found",
        "delegate_task": "agent_not_found",
        "plan_project": "agent_not_found",
        "read_system_logs": "not_allowed",
        "check_agent_status": "agent_instance_not_found",
        "dance": "tool_unknown",
    }
    assert other.agent not in json.dumps(tool(tenant, lease, "list_agents"))
    tenant.world.admin.execute("update public.organization_members set role = 'viewer' where user_id = %s", member.id)
    assert tool(tenant, lease, "list_agents")["error"]["code"] == "not_allowed", "who is no member any more"
    assert worker.complete(lease) == "ok"
    lease = turn(tenant, worker)
    assert tool(tenant, lease, "read_system_logs") == {"entries": []}


def test_delegating_planning_checking_and_costs(tenant: Tenant, worker: Worker) -> None:
    writer = made(tenant, worker, agent_slug=tenant.agent, system_prompt="Be brief.")
    assert (writer["agent_slug"], writer["model"], str(writer["created_by"])) == (
        tenant.agent,
        "some-model",
        tenant.owner.id,
    )
    lease = turn(tenant, worker)
    delegated = tool(tenant, lease, "delegate_task", agent_slug=tenant.agent, prompt="Check it.")
    planned = tool(tenant, lease, "plan_project", prompt="Write a book.", max_steps=3)
    assert planned["project_id"]
    tool(tenant, lease, "command_agent", name="writer", prompt="Write.")
    found = tool(tenant, lease, "check_tasks")["tasks"]
    assert {(t["method"], t["status"]) for t in found} == {
        (m, "pending") for m in ("converse", "plan_project", "command_agent")
    }
    assert delegated["task_id"] in {t["task_id"] for t in found}
    command = worker.claim_one(tenant, methods=["command_agent"])
    assert (command["agent"]["slug"], command["task"]["metadata"]) == (tenant.agent, {"agent_instance": "writer"})
    ask(
        tenant,
        command,
        "log",
        {"number": 1, "entries": [{"event_category": "response", "event_type": "text", "content": "Hm."}]},
    )
    status = tool(tenant, lease, "check_agent_status", name="writer")
    assert (status["status"], status["last_task"]["status"], status["log"][0]["summary"]) == (
        "executing",
        "in_progress",
        "Hm.",
    )
    logs = tool(tenant, lease, "read_agent_logs", name="writer")
    assert [entry["content"] for entry in logs["entries"]] == ["Hm."]
    assert tool(tenant, lease, "read_agent_logs", name="writer", after=1)["entries"] == []
    assert worker.complete(command, usage=USAGE) == "ok"
    cost = tool(tenant, lease, "report_cost")
    assert (cost["total_cost"], cost["agents"][0]["output_tokens"]) == (0.000123, 3)
    assert ("user", "agent", "Write a book.") not in messages(tenant), "nobody said that"


def test_counters_equal_the_ledger_whatever_becomes_of_attempts(tenant: Tenant, worker: Worker) -> None:
    made(tenant, worker)
    said = say(tenant, "Do it", agent_instance_id=instance(tenant)["id"])
    assert worker.fail(worker.claim_one(tenant), retryable=True, usage=USAGE * 2) == "ok"
    tenant.world.admin.execute("update public.tasks set scheduled_at = now() where id = %s", said["task_id"])
    lease = worker.claim_one(tenant)
    question = {"input_request": {"prompt": "Which?"}, "usage": USAGE}
    assert worker.report("pause_task", fence(lease) | question) == ["ok"]
    request = tenant.owner.value("select id from public.input_requests where task_id = %s", said["task_id"])
    tenant.owner.call("respond_to_input_request", input_request_id=request, response=Jsonb("this"))
    lease = worker.claim_one(tenant)
    assert worker.complete(lease, usage=USAGE) == worker.complete(lease, usage=USAGE) == "ok"
    row = instance(tenant)
    assert counters(row) == ledger(tenant, "agent_instance_id", row["id"])
    assert (row["output_tokens"], float(row["total_cost"])) == (12, 0.000492)


def test_workers_wait_for_nobody_and_the_reaper_catches_up(tenant: Tenant, worker: Worker) -> None:
    made(tenant, worker)
    said = say(tenant, "Do it", agent_instance_id=instance(tenant)["id"])
    lease = worker.claim_one(tenant)
    with tenant.world.admin.fresh() as holder, holder.transaction() as connection:
        connection.execute(
            "select from public.agent_instances where id = %s for no key update", [instance(tenant)["id"]]
        )
        connection.execute(
            "select from public.agent_conversations where id = %s for no key update", [said["conversation_id"]]
        )
        assert worker.complete(lease, response="Done.", usage=USAGE) == "ok"
    assert instance(tenant)["status"] == "executing"
    reap(worker)
    row = instance(tenant)
    assert (row["status"], messages(tenant)[-1]) == ("idle", ("agent", "user", "Done."))
    assert counters(row) == ledger(tenant, "agent_instance_id", row["id"])
    reap(worker)
    assert counters(instance(tenant)) == counters(row)
    assert [m for m in messages(tenant) if m[0] == "agent"] == [("agent", "user", "Done.")]


def test_an_archive_and_a_completion_do_not_wait_for_each_other_in_a_circle(tenant: Tenant, worker: Worker) -> None:
    made(tenant, worker)
    say(tenant, "Do it", agent_instance_id=instance(tenant)["id"])
    lease = worker.claim_one(tenant)
    outcome = when_it_waited(
        worker.session,
        lambda s: s.connection.execute("select from public.tasks where id = %s for update", [lease["task"]["id"]]),
        tenant.owner,
        lambda s: s.call("archive_agent_instance", agent_instance_id=instance(tenant)["id"]),
    )
    assert outcome["archived"]
    assert worker.complete(lease) == "cancelled"


def test_deleting_what_it_hangs_on(tenant: Tenant, worker: Worker) -> None:
    member = tenant.join("member")
    lease = turn(tenant, worker, user=member)
    tool(tenant, lease, "create_agent", name="writer")
    tool(tenant, lease, "command_agent", name="writer", prompt="Write.")
    member.execute("delete from public.agent_conversations where user_id = %s", member.id)
    assert worker.complete(worker.claim_one(tenant, methods=["command_agent"]), response="Text") == "ok"
    assert worker.complete(lease) == "ok"
    assert say(tenant, user=member)["conversation_id"]
    tenant.world.admin.execute("delete from auth.users where id = %s", member.id)
    assert instance(tenant)["created_by"] is None
    tenant.world.admin.execute("delete from public.organizations where slug = %s", tenant.slug)


def test_an_answer_is_told_although_the_orchestrators_agent_is_gone(tenant: Tenant, worker: Worker) -> None:
    made(tenant, worker, agent_slug=tenant.agent)
    lease = turn(tenant, worker)
    tool(tenant, lease, "command_agent", name="writer", prompt="Write.")
    assert worker.complete(lease) == "ok"
    tenant.owner.execute("delete from public.agents where slug = %s", boss(tenant)["agent_slug"])
    assert worker.complete(worker.claim_one(tenant), response="Text") == "ok"
    assert messages(tenant)[-1] == ("agent", "orchestrator", "Text")
    assert boss(tenant)["metadata"]["blocked"]["reason"] == "agent_missing"
    say(tenant)
    assert (boss(tenant)["status"], len(worker.claim(tenant))) == ("executing", 1)


def test_the_platform_log_takes_batches(tenant: Tenant) -> None:
    entries = [
        {"level": "WARNING", "message": "It hangs.", "organization_slug": tenant.slug, "metadata": {"a": 1}},
        {"level": "LOUD", "message": "x", "organization_slug": tenant.slug, "timestamp": "2999-01-01T00:00:00Z"},
    ]
    assert tenant.world.service.call("write_system_logs", entries=Jsonb(entries)) == 2
    rows = tenant.owner.rows("select level, message, timestamp <= now() as past from public.system_logs order by level")
    assert [(r["level"], r["message"], r["past"]) for r in rows] == [
        ("ERROR", "x", True),
        ("WARNING", "It hangs.", True),
    ]
    with refused("22023", "log_entries_invalid"):
        tenant.world.service.call("write_system_logs", entries=Jsonb({}))
    with refused("42501"):
        tenant.owner.call("write_system_logs", entries=Jsonb(entries))


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("Short.", "Short."),
        ("", ""),
        (
            "One. Two is a sentence that goes on for a while, here. Three.",
            "One. Two is a sentence that goes on for a while, here.",
        ),
        ("word " * 60, ("word " * 20).strip()[:98] + "…"),
        ("x" * 300, "x" * 99 + "…"),
        ("a\n\n b", "a b"),
    ],
    ids=range(6),
)
def test_summaries(world: World, text: str, summary: str) -> None:
    found = world.admin.value("select private.first_sentence(%s)", text)
    assert len(found) <= 100
    assert found == summary or (summary.startswith("word") and found.endswith("…") and found.startswith("word word"))


def test_an_organizations_own_worker_runs_its_turns_and_no_others(tenant: Tenant, worker: Worker) -> None:
    own, other = scoped(tenant), tenant.world.tenant()
    say(tenant)
    say(other)
    (lease,) = own.claim(worker_id="w")
    assert (lease["task"]["organization_slug"], own.claim(worker_id="w")) == (tenant.slug, [])
    call = {"call_id": "c", "name": "create_agent", "arguments": {"name": "writer"}}
    made_by_it = own.call("scoped_call_orchestrator", **fence(lease), action="tool", arguments=Jsonb(call))
    assert made_by_it["created"] == "writer"
    waits = {"call_id": "w", "agent_slug": "writer", "agent_instance": "writer", "prompt": "Write.", "params": {}}
    paused = own.report("pause_task", fence(lease) | {"agent_calls": [waits]})
    assert paused == ["ok"]
    foreign = worker.claim_one(other)
    with refused("PT409", "lease_lost"):
        own.call("scoped_call_orchestrator", **fence(foreign), action="begin")
    tenant.world.admin.execute("delete from public.workers where starts_with(id, %s)", f"{tenant.slug}:")
