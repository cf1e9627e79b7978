"""Invitations: a token works once, for one address, until it expires or is replaced."""

from __future__ import annotations

from typing import Any

import pytest

from tests.database.kit import Row, Session, Tenant, World, in_parallel, refused, when_it_waited

RANK = {"viewer": 1, "member": 2, "developer": 3, "admin": 4, "owner": 5}


def invite(caller: Session, tenant: Tenant, email: str, **arguments: Any) -> Row:
    row: Row = caller.call("create_invitation", organization_slug=tenant.slug, email=email, **arguments)
    return row


def accept(user: Session, invitation: Row) -> Row:
    row: Row = user.call("accept_invitation", token=invitation["token"])
    return row


@pytest.mark.parametrize("role", RANK)
def test_an_invitation_makes_a_member_with_its_role(world: World, tenant: Tenant, role: str) -> None:
    user = world.user()
    invitation = invite(tenant.owner, tenant, f"  {user.email.upper()} ", role=role)
    assert (invitation["email"], invitation["role"], invitation["invited_by"]) == (user.email, role, tenant.owner.id)
    member = accept(user, invitation)
    assert (member["organization_slug"], member["user_id"], member["role"]) == (tenant.slug, user.id, role)
    assert user.value("select count(*) from public.organizations") == 1


def test_only_a_hash_of_the_token_is_kept(world: World, tenant: Tenant) -> None:
    invitation = invite(tenant.owner, tenant, "a@example.com")
    assert "token_hash" not in invitation
    row = world.admin.row(
        "select to_jsonb(i)::text as whole from public.organization_invitations i where id = %s", invitation["id"]
    )
    assert invitation["token"] not in row["whole"]
    assert len(invitation["token"]) >= 32
    with refused("42501"):
        tenant.owner.rows("select token_hash from public.organization_invitations")


@pytest.mark.parametrize("caller", RANK)
@pytest.mark.parametrize("role", RANK)
def test_admins_invite_up_to_their_own_role(scene: World, caller: str, role: str) -> None:
    tenant = scene.tenant()
    session = tenant.join(caller)
    if RANK[caller] >= max(RANK["admin"], RANK[role]):
        assert invite(session, tenant, "a@example.com", role=role)["role"] == role
    else:
        with refused("42501", "not_allowed"):
            invite(session, tenant, "a@example.com", role=role)


def test_nobody_invites_into_a_foreign_organization(world: World, tenant: Tenant) -> None:
    with refused("42501", "not_allowed"):
        invite(world.tenant().owner, tenant, "a@example.com")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"role": "boss"}, "unknown_role"),
        ({"role": None}, "unknown_role"),
        ({"expires_in": "0 seconds"}, "expires_in_out_of_range"),
        ({"expires_in": "-1 day"}, "expires_in_out_of_range"),
        ({"expires_in": "91 days"}, "expires_in_out_of_range"),
        ({"expires_in": None}, "expires_in_out_of_range"),
    ],
)
def test_a_bad_invitation_is_refused(tenant: Tenant, arguments: Row, message: str) -> None:
    with refused("22023", message):
        invite(tenant.owner, tenant, "a@example.com", **arguments)


@pytest.mark.parametrize("email", ["", "nobody", "a b@example.com", f"{'a' * 250}@example.com", None])
def test_an_invitation_needs_an_address(tenant: Tenant, email: Any) -> None:
    with refused("22023", "value_refused"):
        invite(tenant.owner, tenant, email)


def test_a_token_is_for_one_address(world: World, tenant: Tenant) -> None:
    invited, thief = world.user(), world.user()
    invitation = invite(tenant.owner, tenant, invited.email)
    with refused("PT404", "invitation_not_found"):
        accept(thief, invitation)
    assert accept(invited, invitation)["user_id"] == invited.id


def test_an_unknown_token_and_one_of_somebody_else_give_the_same_answer(world: World, tenant: Tenant) -> None:
    thief = world.user()
    details = []
    for token in (invite(tenant.owner, tenant, "a@example.com")["token"], "no-such-token"):
        with refused("PT404", "invitation_not_found") as refusal:
            accept(thief, {"token": token})
        details.append(refusal.detail)
    assert details[0] == details[1]


def test_a_user_without_an_address_accepts_nothing(world: World, tenant: Tenant) -> None:
    with refused("PT404", "invitation_not_found"):
        accept(world.user(None), invite(tenant.owner, tenant, "a@example.com"))


@pytest.mark.parametrize(
    ("expires_in", "later", "good"), [("1 hour", "59 minutes", True), ("1 hour", "61 minutes", False)]
)
def test_a_token_expires(world: World, tenant: Tenant, expires_in: str, later: str, good: bool) -> None:
    user = world.user()
    invitation = invite(tenant.owner, tenant, user.email, expires_in=expires_in)
    if good:
        assert accept(user.at(later), invitation)["role"] == "member"
    else:
        with refused("PT404", "invitation_not_found"):
            accept(user.at(later), invitation)


def test_a_new_invitation_replaces_the_open_one(world: World, tenant: Tenant) -> None:
    user = world.user()
    old, new = (invite(tenant.owner, tenant, user.email, role=role) for role in ("viewer", "developer"))
    with refused("PT404", "invitation_not_found"):
        accept(user, old)
    assert accept(user, new)["role"] == "developer"


def test_a_withdrawn_invitation_is_void(world: World, tenant: Tenant) -> None:
    user, admin = world.user(), tenant.join("admin")
    invitation = invite(tenant.owner, tenant, user.email)
    assert admin.execute("delete from public.organization_invitations where id = %s", invitation["id"]) == 1
    with refused("PT404", "invitation_not_found"):
        accept(user, invitation)


def test_accepting_again_gives_the_same_membership(world: World, tenant: Tenant) -> None:
    user = world.user()
    invitation = invite(tenant.owner, tenant, user.email)
    results = in_parallel([user] * 4, lambda s: accept(s, invitation))
    assert results == [accept(user, invitation)] * 4


def test_accepting_keeps_the_role_of_a_member(tenant: Tenant) -> None:
    member = tenant.join("developer")
    assert accept(member, invite(tenant.owner, tenant, member.email, role="viewer"))["role"] == "developer"


def test_a_used_token_does_not_bring_a_removed_member_back(world: World, tenant: Tenant) -> None:
    user = world.user()
    invitation = invite(tenant.owner, tenant, user.email)
    accept(user, invitation)
    tenant.owner.call("remove_member", organization_slug=tenant.slug, user_id=user.id)
    with refused("PT409", "invitation_used"):
        accept(user, invitation)


def test_a_used_token_is_not_the_next_owners_of_the_address(world: World, tenant: Tenant) -> None:
    first, second = world.user(), world.user()
    address = first.email
    invitation = invite(tenant.owner, tenant, address)
    accept(first, invitation)
    world.admin.execute("update auth.users set email = 'gone-' || email where id = %s", first.id)
    world.admin.execute("update auth.users set email = %s where id = %s", address, second.id)
    with refused("PT404", "invitation_not_found"):
        accept(second, invitation)


def test_a_token_accepted_twice_at_once_makes_one_member(world: World, tenant: Tenant) -> None:
    user = world.user()
    invitation = invite(tenant.owner, tenant, user.email)
    assert (
        when_it_waited(user, lambda s: accept(s, invitation), user, lambda s: accept(s, invitation))["role"] == "member"
    )
    members = "select count(*) from public.organization_members where organization_slug = %s and user_id = %s"
    assert world.admin.value(members, tenant.slug, user.id) == 1


def test_an_invitation_withdrawn_meanwhile_is_void(world: World, tenant: Tenant) -> None:
    user = world.user()
    invitation = invite(tenant.owner, tenant, user.email)
    error = when_it_waited(
        tenant.owner,
        lambda s: s.execute("delete from public.organization_invitations where id = %s", invitation["id"]),
        user,
        lambda s: accept(s, invitation),
    )
    assert error.diag.message_primary == "invitation_not_found"


def test_the_suspended_join_nothing(world: World, tenant: Tenant) -> None:
    user = world.user()
    invitation = invite(tenant.owner, tenant, user.email)
    world.admin.update("users", {"id": user.id}, status="suspended")
    with refused("PT404", "invitation_not_found"):
        accept(user, invitation)


@pytest.mark.parametrize("ending", ["remove_member", "set_member_role"])
def test_invitations_end_with_the_power_to_give_them(world: World, tenant: Tenant, ending: str) -> None:
    admin, friend = tenant.join("admin"), world.user()
    invitation = invite(admin, tenant, friend.email or "", role="admin")
    role = {"role": "developer"} if ending == "set_member_role" else {}
    tenant.owner.call(ending, organization_slug=tenant.slug, user_id=admin.id, **role)
    with refused("PT404", "invitation_not_found"):
        accept(friend, invitation)


def test_an_admin_does_not_replace_an_invitation_of_an_owner(world: World, tenant: Tenant) -> None:
    friend = world.user()
    invitation = invite(tenant.owner, tenant, friend.email or "", role="owner")
    with refused("42501", "not_allowed"):
        invite(tenant.join("admin"), tenant, friend.email or "", role="viewer")
    assert accept(friend, invitation)["role"] == "owner"
