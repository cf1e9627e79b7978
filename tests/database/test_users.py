"""Profiles: in step with auth.users, and their user's to change in a few columns."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.database.kit import Row, Session, World, refused


def profile(world: World, user_id: str) -> Row:
    return world.admin.row("select * from public.users where id = %s", user_id)


def sign_up(world: World, **data: Any) -> str:
    """Sign a user up with this data, as supabase.auth.signUp({options: {data}}) does; returns the id."""
    user_id = str(uuid.uuid4())
    world.user_ids.append(user_id)
    world.admin.execute(
        "insert into auth.users (id, email, raw_user_meta_data) values (%s, %s, %s)",
        user_id,
        f"{user_id}@Example.com",
        data,
    )
    return user_id


def test_a_new_user_has_a_profile_with_nothing_granted(world: World) -> None:
    user_id = sign_up(world)
    expected = {
        "email": f"{user_id}@example.com",
        "email_verified": False,
        "last_login_at": None,
        "role": None,
        "roles": ["user"],
        "system_role": "USER",
        "status": "active",
        "is_active": True,
        "subscription_tier": "basic",
        "namespace_access": [],
        "organization_slug": None,
    }
    assert profile(world, user_id) | expected == profile(world, user_id)


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ({"display_name": "Ada", "full_name": "x"}, ("Ada", None, None)),
        ({"full_name": "Ada Lovelace"}, ("Ada Lovelace", None, None)),
        ({"name": "Ada"}, ("Ada", None, None)),
        ({"first_name": "Ada", "last_name": "Lovelace"}, (None, "Ada", "Lovelace")),
        ({}, (None, None, None)),
        ({"display_name": "n" * 300, "first_name": "f" * 300, "last_name": 7}, ("n" * 255, "f" * 100, "7")),
        ({"system_role": "SYSTEM_ADMIN", "role": "admin", "status": "suspended"}, (None, None, None)),
    ],
)
def test_names_come_from_the_sign_up_and_nothing_else_does(world: World, data: Row, names: tuple[str, ...]) -> None:
    row = profile(world, sign_up(world, **data))
    assert (row["display_name"], row["first_name"], row["last_name"]) == names
    assert (row["system_role"], row["role"], row["status"]) == ("USER", None, "active")


def test_users_without_an_address_do_not_collide(world: World) -> None:
    assert [profile(world, world.user(None).id)["email"] for _ in range(2)] == [None, None]


def test_the_profile_follows_auth(world: World) -> None:
    user = world.user()
    assert profile(world, user.id)["email_verified"] is True
    user.update("users", {"id": user.id}, display_name="Mine")
    world.admin.execute(
        "update auth.users set email = %s, email_confirmed_at = null, last_sign_in_at = '2026-01-02 03:04:05Z',"
        ' raw_user_meta_data = \'{"display_name": "Theirs"}\' where id = %s',
        f"New-{user.email}",
        user.id,
    )
    row = profile(world, user.id)
    assert (row["email"], row["email_verified"], row["display_name"]) == (f"new-{user.email}", False, "Mine")
    assert row["last_login_at"].isoformat().startswith("2026-01-0")
    world.admin.execute("update auth.users set email_confirmed_at = now() where id = %s", user.id)
    assert profile(world, user.id)["email_verified"] is True


def test_a_deleted_account_takes_its_rows_along(world: World) -> None:
    tenant = world.tenant()
    member = tenant.join("member")
    tenant.task(member, agent_conversation_id=tenant.conversation(member))
    private = tenant.add_agent(organization_slug=[], owner_user_id=member.id)
    world.admin.execute("delete from auth.users where id = %s", member.id)
    for query in (
        "select from public.users where id = %s",
        "select from public.organization_members where user_id = %s",
        "select from public.tasks where user_id = %s",
        "select from public.agent_conversations where user_id = %s",
    ):
        assert world.admin.rows(query, member.id) == []
    assert world.admin.rows("select from public.agents where slug = %s", private) == []


def test_a_deleted_founder_leaves_the_organization(world: World) -> None:
    tenant = world.tenant()
    tenant.join("owner")
    world.admin.update("organizations", {"slug": tenant.slug}, created_by=tenant.owner.id)
    world.admin.execute("delete from auth.users where id = %s", tenant.owner.id)
    assert world.admin.value("select created_by from public.organizations where slug = %s", tenant.slug) is None


@pytest.mark.parametrize("column", ["display_name", "first_name", "last_name"])
def test_users_name_themselves_and_nobody_else(world: World, column: str) -> None:
    user, other = world.user(), world.user()
    assert user.update("users", {"id": user.id}, **{column: "Ada"}) == 1
    assert user.update("users", {"id": other.id}, **{column: "Ada"}) == 0
    assert profile(world, user.id)[column] == "Ada"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("role", "admin"),
        ("roles", {}),
        ("system_role", "SYSTEM_ADMIN"),
        ("status", "active"),
        ("subscription_tier", "enterprise"),
        ("email", "a@example.com"),
        ("email_verified", True),
        ("namespace_access", {}),
        ("id", uuid.uuid4()),
    ],
)
def test_users_do_not_promote_themselves(world: World, column: str, value: Any) -> None:
    user = world.user()
    with refused("42501"):
        user.update("users", {"id": user.id}, **{column: value})


@pytest.mark.parametrize("role", ["viewer", "owner"])
def test_the_current_organization_is_one_of_ones_own(world: World, role: str) -> None:
    own, foreign = world.tenant(), world.tenant()
    user = own.join(role)
    assert user.update("users", {"id": user.id}, organization_slug=None) == 1
    assert user.update("users", {"id": user.id}, organization_slug=own.slug) == 1
    details = []
    for slug in (foreign.slug, "no-such-organization"):
        with refused("42501", "not_allowed") as refusal:
            user.update("users", {"id": user.id}, organization_slug=slug)
        details.append(refusal.detail.replace(slug, "?"))
    assert details[0] == details[1]


def test_a_server_changes_what_users_may_not(world: World) -> None:
    user: Session = world.user()
    assert world.service.update("users", {"id": user.id}, status="suspended", subscription_tier="pro") == 1
    assert profile(world, user.id)["is_active"] is False
