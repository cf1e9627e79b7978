"""What is broadcast, to whom, and who may join which topic, up to the rows of realtime.messages (see realtime.py)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import sql

from tests.database.kit import Connection, Row, Session, Tenant, Worker, World, connect, item
from tests.database.orchestrator_kit import ask, boss, tool, turn
from tests.database.realtime import REALTIME, Crowd, hears, records, repair, sent, topics
from tests.database.scratch import FILES, apply, instance_of, scratch_database
from tests.stack import Stack

SECRET = "what nobody may see but in the row itself"
ORCHESTRATION = ("orchestrator_agents", "agent_instances", "prompts", "agent_logs")
TABLES = ("tasks", "task_events", "messages", "input_requests", "project_steps")


@pytest.fixture(scope="module")
def scratch(stack: Stack) -> Iterator[str]:
    """Give the address of a database with Realtime's objects and every migration."""
    with scratch_database(instance_of(stack), "realtime", more=REALTIME) as address:
        with connect(address) as connection:
            for file in FILES:
                apply(connection, file)
        yield address


@pytest.fixture
def place(scratch: str) -> Iterator[World]:
    with connect(scratch) as connection:
        world = World(scratch, connection)
        yield world
        world.close()
        connection.execute("truncate realtime.messages")


@pytest.fixture
def crowd(place: World) -> Crowd:
    """Let a task of a member run, ask and complete, and a project have a step, before all kinds of people."""
    home, foreign = place.tenant(), place.tenant()
    people = {"owner": home.owner, "foreign owner": foreign.owner}
    people |= {role: home.join(role) for role in ("viewer", "member", "developer", "admin")}
    for name in ("user", "participant", "suspended", "departed"):
        people[name] = home.join("member")
    conversation = home.conversation(people["user"])
    for name in ("participant", "suspended", "departed"):
        row = {"conversation_id": conversation, "user_id": people[name].id}
        place.admin.insert("conversation_participants", **row)
    place.admin.update("users", {"id": people["suspended"].id}, status="suspended")
    place.admin.execute("delete from public.organization_members where user_id = %s", people["departed"].id)
    place.admin.execute("truncate realtime.messages")

    worker = place.worker()
    home.task(people["user"], agent_conversation_id=conversation, prompt=SECRET, params={"p": SECRET})
    lease = worker.claim_one(home)
    worker.report("heartbeat_tasks", item(lease, progress=40, progress_message="Halfway"))
    worker.report("add_task_events", item(lease, type="partial", data={"text": "streamed"}))
    question = {"organization_slug": home.slug, "task_id": lease["task"]["id"], "prompt": SECRET}
    place.service.insert("input_requests", **question, required_role="developer")
    assert worker.complete(lease, response=SECRET, messages=[{"content": SECRET}]) == "ok"

    plan = {"steps": [{"id": "a", "type": "agent", "agent": home.agent, "name": "A"}]}
    own = {"organization_slug": home.slug, "conversation_id": conversation, "name": "P", "plan_json": plan}
    project = str(people["user"].insert("projects", **own)["id"])
    place.service.update("project_steps", {"project_id": project}, status="ready", result={"text": SECRET})
    return Crowd(place, home, people, project)


def reads(session: Session, table: str, record: Row) -> bool:
    query = sql.SQL("select from public.{} where id = %s").format(sql.Identifier(table))
    return bool(session.rows(query, record["id"]))


def test_nobody_hears_of_a_row_that_they_could_not_read(crowd: Crowd) -> None:
    messages = sent(crowd.world)
    heard: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for topic in sorted({message["topic"] for message in messages}):
        for name, session in crowd.people.items():
            if hears(session, topic):
                for table in TABLES:
                    found = records(messages, table, topic)
                    assert all(reads(session, table, record) for record in found), (name, topic, table)
                    heard[name][table] |= {str(record["id"]) for record in found}
    readers = {name: set(tables) for name, tables in heard.items()}
    assert set(readers) == set(crowd.people) - {"foreign owner", "suspended", "departed"}

    # Whoever may read a row hears of it.
    for name, session in crowd.people.items():
        for table in TABLES:
            query = sql.SQL("select id::text, to_jsonb(t) ->> 'type' as type from public.{} t").format(
                sql.Identifier(table)
            )
            rows = session.rows(query)
            # Admins are told of no streamed text; they read it.
            seen = {row["id"] for row in rows if name in {"user", "participant"} or row["type"] != "partial"}
            assert heard[name][table] == seen, (name, table)


def test_bodies_are_never_sent(crowd: Crowd) -> None:
    messages = sent(crowd.world)
    assert {message["event"] for message in messages} == set(TABLES)
    assert [message for message in messages if SECRET in str(message["payload"])] == []
    assert all(message["private"] and message["extension"] == "broadcast" for message in messages)


def test_a_user_follows_a_task_from_its_insert_to_its_end(crowd: Crowd) -> None:
    messages = sent(crowd.world)
    topic = f"user:{crowd.people['user'].id}"
    moves = [(record["status"], record["progress"]) for record in records(messages, "tasks", topic)]
    assert moves == [("pending", 0), ("in_progress", 0), ("in_progress", 40), ("completed", 100)]
    assert records(messages, "tasks", topic)[2]["progress_message"] == "Halfway"
    events = records(messages, "task_events", topic)
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert [event["data"] for event in events if event["type"] == "partial"] == [{"text": "streamed"}]
    operations = [message["payload"]["operation"] for message in messages if message["event"] == "project_steps"]
    assert operations == ["INSERT"] * 3 + ["UPDATE"] * 3


def test_the_organization_topic_carries_states_but_no_words(crowd: Crowd) -> None:
    topic = f"organization:{crowd.home.slug}"
    messages = [message for message in sent(crowd.world) if message["topic"] == topic]
    assert {message["event"] for message in messages} == set(TABLES)
    assert "Halfway" not in str([message["payload"] for message in messages])
    assert "streamed" not in str([message["payload"] for message in messages])


def test_only_these_people_join_these_topics(crowd: Crowd) -> None:
    def joiners(topic: str) -> set[str]:
        return {name for name, session in crowd.people.items() if hears(session, topic)}

    home, people = crowd.home, crowd.people
    assert joiners(f"organization:{home.slug}") == {"owner", "admin"}
    assert joiners(f"project:{crowd.project}") == set(people) - {"foreign owner", "suspended", "departed"}
    for name, session in people.items():
        assert joiners(f"user:{session.id}") == {name} - {"suspended"}
        assert joiners(f"user:{session.id.upper()}") == set()
    bad = ["", "user:", "organization:", "project:", "user", "tasks", "project:x", "organization:none", "%", "*"]
    assert {topic: joiners(topic) for topic in bad} == {topic: set() for topic in bad}


def test_nobody_joins_who_is_not_signed_in_and_nobody_writes(crowd: Crowd) -> None:
    topic = f"user:{crowd.people['user'].id}"
    assert not hears(crowd.world.anon, topic)
    policies = crowd.world.admin.rows("select cmd, roles::text from pg_policies where schemaname = 'realtime'")
    assert policies == [{"cmd": "SELECT", "roles": "{authenticated}"}]


def test_one_who_is_suspended_or_whose_organization_is_hears_nothing_from_then_on(place: World) -> None:
    tenant = place.tenant()
    member = tenant.join("member")
    sent(place)
    task_id = tenant.task(member)
    assert topics(sent(place), "tasks") == {f"user:{member.id}", f"organization:{tenant.slug}"}
    place.admin.update("users", {"id": member.id}, status="suspended")
    place.service.update("tasks", {"id": task_id}, priority=1)
    assert topics(sent(place), "tasks") == {f"organization:{tenant.slug}"}
    place.admin.update("organizations", {"slug": tenant.slug}, is_active=False)
    place.service.update("tasks", {"id": task_id}, priority=2)
    assert sent(place) == []


def test_one_statement_on_rows_of_many_tells_each_of_their_own(place: World) -> None:
    tenant, worker = place.tenant(), place.worker()
    people = [tenant.join("member") for _ in range(4)]
    tasks = [(person, tenant.task(person)) for _ in range(6) for person in people]
    sent(place)
    assert len(worker.claim(tenant, len(tasks))) == len(tasks)
    messages = sent(place)
    for person in people:
        own = {task_id for user, task_id in tasks if user is person}
        assert {record["id"] for record in records(messages, "tasks", f"user:{person.id}")} == own
        assert {event["task_id"] for event in records(messages, "task_events", f"user:{person.id}")} == own
    assert len(records(messages, "tasks", f"organization:{tenant.slug}")) == len(tasks)


def test_what_no_person_sees_is_not_sent(place: World) -> None:
    tenant, worker = place.tenant(), place.worker()
    tenant.task()
    lease = worker.claim_one(tenant)
    sent(place)
    assert worker.report("heartbeat_tasks", item(lease), lease_seconds=60) == ["ok"]
    assert sent(place) == []


@pytest.mark.parametrize(("size", "whole"), [(7000, True), (9000, False)])
def test_a_large_event_is_sent_without_what_makes_it_large(place: World, size: int, whole: bool) -> None:
    tenant, worker = place.tenant(), place.worker()
    tenant.task()
    lease = worker.claim_one(tenant)
    sent(place)
    worker.report("add_task_events", item(lease, type="log", message="Said", data={"text": "x" * size}))
    (event,) = records(sent(place), "task_events", f"user:{tenant.owner.id}")
    assert (event["type"], event["sequence"]) == ("log", 3)
    assert event.get("data") == ({"text": "x" * size} if whole else None)
    assert event.get("message") == ("Said" if whole else None)


def bulk_insert(tenant: Tenant, count: int) -> None:
    tenant.owner.execute(
        "insert into public.tasks (organization_slug, agent_slug, method, prompt)"
        " select %s, %s, 'process', 'x' from generate_series(1, %s)",
        tenant.slug,
        tenant.agent,
        count,
    )


def test_many_rows_of_one_statement_travel_in_few_messages(place: World) -> None:
    tenant = place.tenant()
    own, all_ = f"user:{tenant.owner.id}", f"organization:{tenant.slug}"
    bulk_insert(tenant, 60)
    found = [message for message in sent(place) if message["event"] == "tasks"]
    assert sorted(message["topic"] for message in found) == [all_] * 3 + [own] * 3
    assert [m["payload"]["count"] for m in found if m["topic"] == own] == [25, 25, 10]
    assert len({record["id"] for record in records(found, "tasks", own)}) == 60

    bulk_insert(tenant, 1000)
    found = sent(place)
    assert {(m["topic"], m["event"]) for m in found} == {(t, e) for t in (own, all_) for e in ("tasks", "task_events")}
    assert [(m["payload"]["count"], m["payload"]["records"]) for m in found] == [(1000, None)] * 4


@pytest.mark.parametrize(
    "how",
    [
        "alter table realtime.messages detach partition realtime.messages_today",
        "alter function realtime.send(jsonb, text, text, boolean) rename to sent",
        "create or replace function realtime.send(payload jsonb, event text, topic text, private boolean default true)"
        " returns void language plpgsql as $$ begin raise exception 'no'; end $$",
    ],
    ids=["no partition", "no function", "an error"],
)
def test_a_broadcast_that_fails_fails_no_write(stack: Stack, place: World, how: str) -> None:
    tenant, worker = place.tenant(), place.worker()
    sent(place)
    superuser = instance_of(stack).database_url("supabase_admin").rpartition("/")[0]
    database = place.connection.info.dbname
    with connect(f"{superuser}/{database}") as other:
        before = other.execute("select pg_get_functiondef('realtime.send'::regproc) as text").fetchone()
        assert before
        other.execute(how.encode())
        try:
            task_id = tenant.task()
            assert worker.complete(worker.claim_one(tenant)) == "ok"
        finally:
            repair(other, before["text"])
    assert tenant.read(task_id)["status"] == "completed"
    assert sent(place) == []


def test_switching_on_once_more_changes_nothing(place: World) -> None:
    def state() -> list[Row]:
        return place.admin.rows(
            "select tgname as name, tgrelid::regclass::text as target from pg_trigger where tgname ~ '^broadcast_'"
            " union all select policyname, concat(tablename, qual) from pg_policies where schemaname = 'realtime'"
            " order by 1, 2"
        )

    before = state()
    # Inserts and updates, three tables are append-only, and the policy.
    assert len(before) == 2 * len(TABLES + ORCHESTRATION) - 3 + 1
    assert place.admin.value("select private.enable_realtime()") is True
    assert state() == before


def test_an_orchestrators_topic_is_its_members(place: World) -> None:
    home = place.tenant()
    member, viewer, stranger = home.join("member"), home.join("viewer"), place.tenant().owner
    worker = place.worker()
    place.admin.execute("truncate realtime.messages")
    lease = turn(home, worker, SECRET, user=member)
    entry = {"event_category": "response", "event_type": "text", "content": SECRET}
    ask(home, lease, "log", {"number": 1, "entries": [entry]})
    tool(home, lease, "create_agent", name="writer")
    tool(home, lease, "command_agent", name="writer", prompt=SECRET)
    command = worker.claim_one(home, methods=["command_agent"])
    ask(home, command, "log", {"number": 1, "entries": [entry]})
    messages = sent(place)
    topic = f"orchestrator:{boss(home)['id']}"
    assert {table: topics(messages, table) for table in ORCHESTRATION} == {
        "orchestrator_agents": {topic},
        "agent_instances": {topic},
        # What is said to the orchestrator and its agents, and what these two did.
        "prompts": {topic, f"user:{member.id}", f"organization:{home.slug}"},
        "agent_logs": {topic, f"user:{member.id}", f"organization:{home.slug}"},
    }
    assert SECRET not in str([m["payload"] for m in messages if m["event"] in ORCHESTRATION])
    hearing = {name: s.value("select private.may_receive(%s)", topic) for name, s in
        {"member": member, "viewer": viewer, "stranger": stranger}.items()}  # fmt: skip
    assert hearing == {"member": True, "viewer": False, "stranger": False}


def test_a_database_without_realtime_has_no_part_of_it(world: World, tenant: Tenant, worker: Worker) -> None:
    assert world.admin.value("select to_regnamespace('realtime') is null")
    assert world.admin.value("select private.enable_realtime()") is False
    assert world.admin.rows("select from pg_trigger where tgname ~ '^broadcast_'") == []
    tenant.task()
    assert worker.complete(worker.claim_one(tenant)) == "ok"


def test_realtime_that_comes_later_is_switched_on_by_one_call(stack: Stack) -> None:
    here = instance_of(stack)
    with scratch_database(here, "realtime_later") as address, connect(address) as connection:
        for file in FILES:
            apply(connection, file)
        assert value(connection, "select private.enable_realtime()") is False
        name = connection.info.dbname
        with connect(f"{here.database_url('supabase_admin').rpartition('/')[0]}/{name}") as superuser:
            superuser.execute(REALTIME.encode())
        assert value(connection, "select private.enable_realtime()") is True
        assert value(connection, "select count(*) from pg_trigger where tgname ~ '^broadcast_'") == 15


def value(connection: Connection, query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    assert row
    (found,) = row.values()
    return found
