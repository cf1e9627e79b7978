"""Who sees and writes what: two organizations with rows in every table, and each kind of person at each of them."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
import pytest

from tests.database.kit import AGENT, Row, Session, Tenant, World, new_name, refused

ADMINS = {"owner", "admin"}
DEVELOPERS = ADMINS | {"developer"}
MEMBERS = DEVELOPERS | {"member", "colleague", "participant"}
INSIDERS = MEMBERS | {"viewer"}
ACTORS = sorted(INSIDERS | {"former", "stranger", "suspended"})
# The rows below are member's; participant takes part in member's conversation.
PRIVATE = ADMINS | {"member"}
SHARED = PRIVATE | {"participant"}

# table: (key, the organization's rows, who sees all of them); everybody else sees none.
TENANT = "organization_slug = %(slug)s"
IN_CONVERSATION = "conversation_id in (select id from public.agent_conversations where organization_slug = %(slug)s)"
READS: dict[str, tuple[str, str, set[str]]] = {
    "organizations": ("slug", "slug = %(slug)s", INSIDERS),
    "organization_members": ("user_id", TENANT, INSIDERS),
    "organization_invitations": ("id", TENANT, ADMINS),
    "agents": ("slug", "organization_slug = array[%(slug)s]", INSIDERS),
    "agent_conversations": ("id", TENANT, SHARED),
    "conversation_participants": ("id", IN_CONVERSATION, SHARED),
    "messages": ("id", IN_CONVERSATION, SHARED),
    "tasks": ("id", TENANT, SHARED),
    "task_events": ("id", f"task_id in (select id from public.tasks where {TENANT})", SHARED),
    "deliverables": ("id", TENANT, SHARED),
    "deliverable_versions": ("id", f"deliverable_id in (select id from public.deliverables where {TENANT})", SHARED),
    "runs": ("id", TENANT, PRIVATE),
    "usage_events": ("id", TENANT, PRIVATE),
}

# verb: (statement, who may, and what the others get: 0 rows or an error code)
Verb = tuple[str, set[str], int | str]
WRITES: dict[str, Verb] = {
    "rename the organization": ("update public.organizations set name = 'x' where slug = %(slug)s", {"owner"}, 0),
    "delete the organization": ("delete from public.organizations where slug = %(slug)s", {"owner"}, 0),
    "activate the organization": (
        "update public.organizations set is_active = true where slug = %(slug)s",
        set(),
        "42501",
    ),
    "add an agent": (
        "insert into public.agents (slug, organization_slug, name, description, agent_type, department, io_schema,"
        " capabilities, context, llm_config)"
        " select %(new)s, array[%(slug)s], 'n', 'd', 'context', 'd', '{}', '{}', 'c',"
        """ '{"provider": "openai", "model": "m"}'""",
        DEVELOPERS,
        "42501",
    ),
    "change an agent": ("update public.agents set name = 'x' where slug = %(agent)s", DEVELOPERS, 0),
    "delete an agent": ("delete from public.agents where slug = %(agent)s", DEVELOPERS, 0),
    "begin a conversation": (
        "insert into public.agent_conversations (organization_slug, agent_slug) values (%(slug)s, %(agent)s)",
        MEMBERS,
        "42501",
    ),
    "rename a conversation": (
        "update public.agent_conversations set title = 'x' where id = %(conversation)s",
        {"member"},
        0,
    ),
    "delete a conversation": ("delete from public.agent_conversations where id = %(conversation)s", {"member"}, 0),
    "add a participant": (
        "insert into public.conversation_participants (conversation_id, user_id)"
        " values (%(conversation)s, %(colleague)s)",
        {"member"},
        "PT404",
    ),
    "remove a participant": (
        "delete from public.conversation_participants where conversation_id = %(conversation)s",
        {"member", "participant"},
        0,
    ),
    "add a task": (
        "insert into public.tasks (organization_slug, agent_slug, method, prompt)"
        " values (%(slug)s, %(agent)s, 'process', 'p')",
        MEMBERS,
        "42501",
    ),
    "rate a task": ("update public.tasks set evaluation = '{}' where id = %(done)s", {"member"}, 0),
    "delete a task": ("delete from public.tasks where id = %(done)s", set(), "42501"),
    "cancel a task": ("select public.cancel_task(%(waiting)s)", PRIVATE, "PT404"),
    "retry a task": ("select public.retry_task(%(waiting)s)", PRIVATE, "PT404"),
    "rename a deliverable": ("update public.deliverables set title = 'x' where id = %(deliverable)s", {"member"}, 0),
    "delete a deliverable": ("delete from public.deliverables where id = %(deliverable)s", {"member"}, 0),
    "add a deliverable": ("insert into public.deliverables default values", set(), "42501"),
    "edit a deliverable": ("select public.create_deliverable_version(%(deliverable)s, 'x')", PRIVATE, "PT404"),
    "roll a deliverable back": (
        "select public.set_current_deliverable_version(%(deliverable)s, 1)",
        PRIVATE,
        "PT404",
    ),
    "set a role": ("select public.set_member_role(%(slug)s, %(bystander)s, 'viewer')", ADMINS, "42501"),
    "remove a member": ("select public.remove_member(%(slug)s, %(bystander)s)", ADMINS, "42501"),
    "invite": ("select public.create_invitation(%(slug)s, 'new@example.com')", ADMINS, "42501"),
    "withdraw an invitation": (
        "delete from public.organization_invitations where organization_slug = %(slug)s",
        ADMINS,
        0,
    ),
    "write a profile": ("update public.users set display_name = 'x' where id = %(member)s", {"member"}, 0),
    "add a user": ("insert into public.users (id) values (%(member)s)", set(), "42501"),
    "delete a user": ("delete from public.users where id = %(member)s", set(), "42501"),
}
SYSTEM_WRITES: dict[str, Verb] = {
    f"{verb} {table}": (statement.format(table), set(), "42501")
    for table in (
        "messages",
        "runs",
        "usage_events",
        "task_events",
        "task_methods",
        "deliverable_versions",
        "workers",
        "organization_members",
    )
    for verb, statement in (
        ("insert into", "insert into public.{} default values"),
        ("update", "update public.{} set created_at = now()"),
        ("delete from", "delete from public.{}"),
    )
}
WRITES |= SYSTEM_WRITES


@dataclass(frozen=True)
class Scene:
    """Organization A with its people, organization B, and the ids that the statements name."""

    a: Tenant
    b: Tenant
    actors: dict[str, Session]
    ids: Row


def populate(tenant: Tenant, member: Session, participant: Session) -> Row:
    """Give an organization a row in every table, all of the member's; returns their ids."""
    worker = tenant.world.worker()
    conversation_id = tenant.conversation(member)
    member.insert("conversation_participants", conversation_id=conversation_id, user_id=participant.id)
    done = tenant.task(member, agent_conversation_id=conversation_id)
    worker.complete(
        worker.claim_one(tenant),
        deliverable={"title": "T", "type": "text", "format": "text", "content": "c"},
        messages=[{"content": "m"}],
        usage=[{"provider": "p", "model": "m", "input_tokens": 1, "output_tokens": 1, "cost": 1}],
    )
    waiting = tenant.task(member, agent_conversation_id=conversation_id)
    tenant.owner.call("create_invitation", organization_slug=tenant.slug, email="someone@example.com")
    return {
        "slug": tenant.slug,
        "agent": tenant.agent,
        "conversation": conversation_id,
        "done": done,
        "waiting": waiting,
        "deliverable": tenant.read(done)["response_metadata"]["deliverable"]["id"],
        "member": member.id,
    }


@pytest.fixture(scope="module")
def place(scene: World) -> Scene:
    a, b = scene.tenant(), scene.tenant()
    actors = {role: a.join(role) for role in ("admin", "developer", "member", "viewer")}
    actors |= {name: a.join("member") for name in ("colleague", "participant", "suspended")}
    actors |= {"owner": a.owner, "former": a.join("admin"), "stranger": b.owner}
    others = {"colleague": actors["colleague"].id, "bystander": a.join("member").id}
    ids = populate(a, actors["member"], actors["participant"]) | others
    for name in ("former", "suspended"):
        participation = {"conversation_id": ids["conversation"], "user_id": actors[name].id}
        actors["member"].insert("conversation_participants", **participation)
    a.owner.call("remove_member", organization_slug=a.slug, user_id=actors["former"].id)
    scene.admin.update("users", {"id": actors["suspended"].id}, status="suspended")
    populate(b, b.join("member"), b.join("member"))
    return Scene(a, b, actors, ids)


def keys(session: Session, table: str, where: str, slug: str) -> set[str]:
    with session.transaction() as connection:
        query = f"select {READS[table][0]}::text as key from public.{table} where {where}"
        return {row["key"] for row in connection.execute(query, {"slug": slug})}


@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("table", READS)
def test_everybody_sees_exactly_their_rows(place: Scene, table: str, actor: str) -> None:
    _, where, readers = READS[table]
    tenant = place.b if actor == "stranger" else place.a
    everything = keys(tenant.world.admin, table, where, tenant.slug)
    assert everything
    expected = everything if actor in readers | {"stranger"} else set()
    assert keys(place.actors[actor], table, "true", "") == expected


@pytest.mark.parametrize("actor", ACTORS)
def test_everybody_sees_their_own_profile_only(place: Scene, actor: str) -> None:
    session = place.actors[actor]
    assert session.rows("select id::text from public.users") == [{"id": session.id}]


@pytest.mark.parametrize("actor", [*ACTORS, "anon"])
@pytest.mark.parametrize("verb", WRITES)
def test_everybody_writes_only_what_they_may(place: Scene, verb: str, actor: str) -> None:
    statement, writers, refusal = WRITES[verb]
    session = place.a.world.anon if actor == "anon" else place.actors[actor]
    try:
        with session.transaction(keep=False) as connection:
            touched: int | str = connection.execute(statement, place.ids | {"new": new_name("agent")}).rowcount
    except psycopg.Error as error:
        touched = error.diag.sqlstate or ""
    if actor in writers:
        assert isinstance(touched, int)
        assert touched > 0
    elif actor == "anon":
        assert touched == "42501"
    elif verb == "write a profile" and actor == "suspended":
        assert touched == 0
    else:
        assert touched == refusal


@pytest.mark.parametrize("table", [*READS, "users", "workers", "task_methods"])
def test_a_visitor_reads_nothing(place: Scene, table: str) -> None:
    with refused("42501"):
        place.a.world.anon.rows(f"select 1 from public.{table}")


def test_a_participant_may_ask_in_a_conversation(place: Scene) -> None:
    with place.actors["participant"].transaction(keep=False) as connection:
        connection.execute(
            "insert into public.tasks (agent_conversation_id, method, prompt) values (%s, 'process', 'p')",
            [place.ids["conversation"]],
        )


@pytest.mark.parametrize("actor", ["colleague", "viewer", "former", "stranger", "suspended"])
def test_nobody_else_may_ask_in_a_conversation(place: Scene, actor: str) -> None:
    with refused("PT404", "conversation_not_found"):
        place.actors[actor].insert(
            "tasks", agent_conversation_id=place.ids["conversation"], method="process", prompt="p"
        )


@pytest.mark.parametrize("table", ["tasks", "task_events", "messages", "deliverables", "deliverable_versions"])
def test_the_owner_of_a_conversation_sees_what_participants_make_in_it(tenant: Tenant, table: str) -> None:
    host, guest, worker = tenant.join("member"), tenant.join("member"), tenant.world.worker()
    conversation_id = tenant.conversation(host)
    host.insert("conversation_participants", conversation_id=conversation_id, user_id=guest.id)
    tenant.task(guest, agent_conversation_id=conversation_id)
    deliverable = {"title": "T", "type": "text", "format": "text", "content": "c"}
    worker.complete(worker.claim_one(tenant), deliverable=deliverable, messages=[{"content": "m"}])
    count = f"select count(*) from public.{table}"
    assert host.value(count) == guest.value(count) > 0


def test_a_participant_must_be_of_the_organization(tenant: Tenant) -> None:
    stranger, conversation_id = tenant.world.tenant(), tenant.conversation()
    participants = [{"user_id": stranger.owner.id}, {"agent_slug": stranger.agent}, {"agent_slug": "no-such-agent"}]
    for participant in participants:
        with refused("PT404", "participant_not_found"):
            tenant.owner.insert("conversation_participants", conversation_id=conversation_id, **participant)


def test_a_conversation_is_not_begun_in_anothers_name_or_with_a_foreign_agent(tenant: Tenant) -> None:
    other = tenant.world.tenant()
    member = tenant.join("member")
    with refused("42501", "user_id_is_not_yours"):
        member.insert("agent_conversations", agent_slug=tenant.agent, user_id=tenant.owner.id)
    with refused("PT404", "agent_not_found"):
        member.insert("agent_conversations", agent_slug=other.agent)
    with refused("42501", "not_allowed"):
        member.insert("agent_conversations", agent_slug=other.agent, organization_slug=other.slug)


def test_a_conversation_is_with_an_agent_found_by_slug_or_name(tenant: Tenant) -> None:
    for columns in ({"agent_slug": tenant.agent}, {"agent_name": tenant.agent}, {"agent_name": "Writer"}):
        row = tenant.owner.insert("agent_conversations", **columns)
        assert (row["agent_slug"], row["agent_name"], row["agent_type"]) == (tenant.agent, "Writer", "context")
        assert (row["organization_slug"], str(row["user_id"])) == (tenant.slug, tenant.owner.id)
    with refused("22023", "agent_missing"):
        tenant.owner.insert("agent_conversations", title="With nobody")


def test_a_slug_in_use_elsewhere_tells_nothing_of_its_owner(tenant: Tenant) -> None:
    other = tenant.world.tenant()
    with pytest.raises(psycopg.errors.UniqueViolation) as caught:
        tenant.owner.insert("agents", **{**AGENT, "slug": other.agent, "organization_slug": [tenant.slug]})
    assert other.slug not in str(caught.value)
