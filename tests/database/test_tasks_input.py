"""What a browser may ask for: each bad input is refused at once, with the code, the token and the next step."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Session, Tenant, World, refused

MEGABYTE = 1 << 20


def RawJson(text: str) -> Jsonb:  # noqa: N802 - reads like Jsonb
    """JSON as it is written, for what Python's own numbers cannot hold."""
    return Jsonb(text, dumps=str)


@dataclass(frozen=True)
class Place:
    """A member's organization, one of somebody else, and what the member may not use."""

    own: Tenant
    other: Tenant
    member: Session
    viewer: Session
    inactive: str
    private: str
    foreign_conversation: str
    ended_conversation: str
    foreign_task: str


@pytest.fixture(scope="module")
def place(scene: World) -> Place:
    own, other = scene.tenant(), scene.tenant()
    member = own.join("member")
    ended = own.conversation(member)
    member.update("agent_conversations", {"id": ended}, status="ended")
    private = other.add_agent(organization_slug=[], owner_user_id=other.owner.id)
    return Place(
        own,
        other,
        member,
        own.join("viewer"),
        own.add_agent(status="inactive"),
        private,
        other.conversation(),
        ended,
        other.task(),
    )


BAD: dict[str, tuple[str, str, Callable[[Place], dict[str, Any]]]] = {
    "number of 131,072 digits": ("22023", "json_not_plain", lambda _: {"params": RawJson('{"a": [1e131071]}')}),
    "tiny number": ("22023", "json_not_plain", lambda _: {"metadata": RawJson('{"a": 1e-16000}')}),
    "65 levels": ("22023", "json_not_plain", lambda _: {"params": RawJson('{"a":' + "[" * 65 + "]" * 65 + "}")}),
    "unknown agent": ("PT404", "agent_not_found", lambda _: {"agent_slug": "no-such-agent"}),
    "unknown agent by name": ("PT404", "agent_not_found", lambda _: {"agent_slug": None, "agent_name": "Nobody"}),
    "agent of another organization": ("PT404", "agent_not_found", lambda p: {"agent_slug": p.other.agent}),
    "private agent of another user": ("PT404", "agent_not_found", lambda p: {"agent_slug": p.private}),
    "inactive agent": ("PT409", "agent_inactive", lambda p: {"agent_slug": p.inactive}),
    "no agent": ("22023", "agent_missing", lambda _: {"agent_slug": None}),
    "empty prompt": ("22023", "prompt_empty", lambda _: {"prompt": ""}),
    "blank prompt": ("22023", "prompt_empty", lambda _: {"prompt": " \t\r\n "}),
    "no prompt": ("22023", "prompt_empty", lambda _: {"prompt": None}),
    "a prompt of 5 MB": ("PT413", "prompt_too_large", lambda _: {"prompt": "x" * (5 * MEGABYTE)}),
    "params a list": ("22023", "params_not_an_object", lambda _: {"params": Jsonb([1])}),
    "params a string": ("22023", "params_not_an_object", lambda _: {"params": Jsonb("x")}),
    "params null": ("22023", "params_not_an_object", lambda _: {"params": Jsonb(None)}),
    "params missing": ("22023", "params_not_an_object", lambda _: {"params": None}),
    "huge params": ("PT413", "params_too_large", lambda _: {"params": {"x": "y" * (2 * MEGABYTE)}}),
    "unknown method": ("22023", "unknown_method", lambda _: {"method": "destroy"}),
    "no method": ("22023", "unknown_method", lambda _: {"method": None}),
    "user_id of somebody else": ("42501", "user_id_is_not_yours", lambda p: {"user_id": p.own.owner.id}),
    "user_id null": ("42501", "user_id_is_not_yours", lambda _: {"user_id": None}),
    "organization_slug of somebody else": ("42501", "not_allowed", lambda p: {"organization_slug": p.other.slug}),
    "organization_slug of nobody": ("42501", "not_allowed", lambda _: {"organization_slug": "no-such-organization"}),
    "conversation of somebody else": (
        "PT404",
        "conversation_not_found",
        lambda p: {"agent_conversation_id": p.foreign_conversation},
    ),
    "unknown conversation": ("PT404", "conversation_not_found", lambda _: {"agent_conversation_id": uuid.uuid4()}),
    "ended conversation": (
        "PT409",
        "conversation_not_active",
        lambda p: {"agent_conversation_id": p.ended_conversation},
    ),
    "task of somebody else as parent": (
        "PT404",
        "parent_task_not_found",
        lambda p: {"parent_task_id": p.foreign_task},
    ),
    "unknown parent": ("PT404", "parent_task_not_found", lambda _: {"parent_task_id": uuid.uuid4()}),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_the_next_step(place: Place, case: str) -> None:
    code, message, columns = BAD[case]
    with refused(code, message) as refusal:
        place.own.task(place.member, **columns(place))
    assert "x" * 100 not in refusal.detail
    assert place.own.world.admin.value("select count(*) from public.tasks where user_id = %s", place.member.id) == 0


def test_an_unknown_organization_and_a_foreign_one_give_the_same_answer(place: Place) -> None:
    details = []
    for slug in (place.other.slug, "no-such-organization"):
        with refused("42501", "not_allowed") as refusal:
            place.own.task(place.member, organization_slug=slug)
        details.append(refusal.detail.replace(slug, "?"))
    assert details[0] == details[1]


def test_an_unknown_agent_and_a_foreign_one_give_the_same_answer(place: Place) -> None:
    details = []
    for slug in (place.other.agent, "no-such-agent"):
        with refused("PT404", "agent_not_found") as refusal:
            place.own.task(place.member, agent_slug=slug)
        details.append(refusal.detail.replace(slug, "?"))
    assert details[0] == details[1]


def test_a_viewer_adds_no_task(place: Place) -> None:
    with refused("42501", "not_allowed"):
        place.own.task(place.viewer)


def test_a_user_without_any_organization_is_told_to_join_one(world: World) -> None:
    with refused("22023", "organization_missing"):
        world.user().insert("tasks", method="process", prompt="Write.", agent_slug="blog-post-writer")


@pytest.mark.parametrize(
    "columns",
    [
        {"status": "completed"},
        {"progress": 50},
        {"response": "x"},
        {"llm_metadata": {"cost": 0}},
        {"attempt": 1},
        {"lease_token": uuid.uuid4()},
        {"worker_id": "me"},
        {"completed_at": "2030-01-01"},
        {"error_code": "x"},
        {"created_at": "2000-01-01"},
    ],
    ids=lambda columns: next(iter(columns)),
)
def test_a_browser_does_not_insert_columns_of_the_engine(tenant: Tenant, columns: dict[str, Any]) -> None:
    with refused("42501"):
        tenant.task(**columns)


def test_what_is_left_out_is_filled(tenant: Tenant) -> None:
    task = tenant.owner.insert("tasks", method="process", prompt="Write.", agent_slug=tenant.agent)
    filled = {
        "organization_slug": tenant.slug,
        "user_id": uuid.UUID(tenant.owner.id),
        "agent_name": "Writer",
        "status": "pending",
        "progress": 0,
        "attempt": 0,
        "max_attempts": 3,
        "priority": 100,
        "params": {},
        "deliverable_type": "text",
        "timeout_seconds": 300,
    }
    assert task | filled == task


def test_a_task_in_a_conversation_takes_its_organization_and_agent(world: World, tenant: Tenant) -> None:
    elsewhere = world.tenant()
    elsewhere.join("member", tenant.owner)
    conversation_id = elsewhere.conversation(tenant.owner)
    task = tenant.owner.insert("tasks", method="process", prompt="Write.", agent_conversation_id=conversation_id)
    assert (task["organization_slug"], task["agent_slug"]) == (elsewhere.slug, elsewhere.agent)


def test_a_conversation_of_another_own_organization_does_not_fit(world: World, tenant: Tenant) -> None:
    elsewhere = world.tenant()
    elsewhere.join("member", tenant.owner)
    with refused("PT404", "conversation_not_found"):
        tenant.task(agent_conversation_id=elsewhere.conversation(tenant.owner))


def test_an_agent_is_found_by_its_slug_or_name_and_gets_its_true_name(tenant: Tenant) -> None:
    slug = tenant.add_agent(name="Poet of the Sea")
    asked: list[dict[str, Any]] = [
        {"agent_slug": None, "agent_name": "Poet of the Sea"},
        {"agent_slug": None, "agent_name": slug},
        {"agent_slug": slug, "agent_name": "Forged"},
    ]
    for columns in asked:
        task = tenant.read(tenant.task(**columns))
        assert (task["agent_slug"], task["agent_name"]) == (slug, "Poet of the Sea")


def test_an_exact_slug_wins_over_a_name_and_an_active_agent_over_an_idle_one(tenant: Tenant) -> None:
    first, second, wanted = sorted(tenant.add_agent() for _ in range(3))
    tenant.owner.update("agents", {"slug": first}, name="Twin", status="inactive")
    tenant.owner.update("agents", {"slug": wanted}, name="Twin")
    tenant.owner.update("agents", {"slug": second}, name=wanted)
    for name in ("Twin", wanted):
        assert tenant.read(tenant.task(agent_slug=None, agent_name=name))["agent_slug"] == wanted


def test_a_private_agent_is_its_owners_to_use(tenant: Tenant) -> None:
    slug = tenant.add_agent(organization_slug=[], owner_user_id=tenant.owner.id)
    assert tenant.read(tenant.task(agent_slug=slug))["agent_slug"] == slug
    with refused("PT404", "agent_not_found"):
        tenant.task(tenant.join("admin"), agent_slug=slug)


def test_the_largest_prompt_is_taken(tenant: Tenant) -> None:
    assert len(tenant.read(tenant.task(prompt="x" * MEGABYTE))["prompt"]) == MEGABYTE


def test_the_same_idempotency_key_makes_one_task(tenant: Tenant) -> None:
    tenant.task(idempotency_key="once")
    with pytest.raises(psycopg.errors.UniqueViolation):
        tenant.task(idempotency_key="once")
    inserted = tenant.owner.execute(
        "insert into public.tasks (method, prompt, agent_slug, idempotency_key)"
        " values ('process', 'Again.', %s, 'once')"
        " on conflict (organization_slug, idempotency_key) do nothing",
        tenant.agent,
    )
    assert inserted == 0
    assert tenant.world.admin.value("select count(*) from public.tasks where organization_slug = %s", tenant.slug) == 1


def test_the_same_idempotency_key_in_two_organizations_makes_two_tasks(world: World, tenant: Tenant) -> None:
    assert tenant.task(idempotency_key="once") != world.tenant().task(idempotency_key="once")


def test_the_first_event_of_a_task_says_that_it_waits(tenant: Tenant) -> None:
    (event,) = tenant.events(tenant.task())
    assert (event["sequence"], event["type"], event["data"]) == (1, "status", {"to": "pending"})


def test_a_prompt_in_a_conversation_becomes_the_users_message(tenant: Tenant) -> None:
    conversation_id = tenant.conversation()
    task_id = tenant.task(agent_conversation_id=conversation_id, prompt="What lives in tide pools?")
    message = tenant.owner.row("select * from public.messages where conversation_id = %s", conversation_id)
    assert (message["sender_type"], message["receiver_type"], message["content"]) == (
        "user",
        "agent",
        "What lives in tide pools?",
    )
    assert (str(message["sender_user_id"]), str(message["task_id"])) == (tenant.owner.id, task_id)
    conversation = tenant.owner.row("select * from public.agent_conversations where id = %s", conversation_id)
    assert conversation["last_message_at"] == message["created_at"]


def test_a_server_inserts_for_a_user_it_names(tenant: Tenant) -> None:
    task_id = tenant.task(tenant.world.service, user_id=tenant.owner.id)
    assert str(tenant.read(task_id)["user_id"]) == tenant.owner.id


def test_a_server_must_name_the_user(tenant: Tenant) -> None:
    with pytest.raises(psycopg.errors.NotNullViolation):
        tenant.task(tenant.world.service)
