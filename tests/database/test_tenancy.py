"""Organizations and their members: who joins, who rules, who leaves, and that it acts at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import AGENT, Session, Tenant, World, in_parallel, new_name, refused, when_it_waited

RANK = {"viewer": 1, "member": 2, "developer": 3, "admin": 4, "owner": 5}


def role_of(tenant: Tenant, user: Session) -> str | None:
    rows = tenant.world.admin.rows(
        "select role from public.organization_members where organization_slug = %s and user_id = %s",
        tenant.slug,
        user.id,
    )
    return rows[0]["role"] if rows else None


def profile(world: World, user: Session) -> tuple[str | None, list[str]]:
    row = world.admin.row("select organization_slug, namespace_access from public.users where id = %s", user.id)
    return row["organization_slug"], row["namespace_access"]


def set_role(caller: Session, tenant: Tenant, user: Session, role: str | None) -> Any:
    return caller.call("set_member_role", organization_slug=tenant.slug, user_id=user.id, role=role)


def remove(caller: Session, tenant: Tenant, user: Session) -> Any:
    return caller.call("remove_member", organization_slug=tenant.slug, user_id=user.id)


def leave(caller: Session, tenant: Tenant) -> Any:
    return caller.call("leave_organization", organization_slug=tenant.slug)


def delete_account(caller: Session, user: Session) -> int:
    return caller.execute("delete from auth.users where id = %s", user.id)


# Organizations


def test_whoever_creates_an_organization_owns_it(world: World) -> None:
    user, slug = world.user(), new_name("org")
    world.slugs.append(slug)
    made = user.call("create_organization", slug=slug, name="Acme", settings={"theme": "dark"})
    assert (made["slug"], made["created_by"], made["settings"]) == (slug, user.id, {"theme": "dark"})
    assert (made["subscription_tier"], made["is_active"]) == ("basic", True)
    assert user.rows("select role from public.organization_members") == [{"role": "owner"}]
    assert profile(world, user) == (slug, [slug])


def test_creating_it_again_gives_the_same_organization(world: World) -> None:
    user, slug = world.user(), new_name("org")
    world.slugs.append(slug)
    calls = in_parallel([user] * 4, lambda s: s.call("create_organization", slug=slug, name="Acme"))
    assert [c["id"] for c in calls] == [calls[0]["id"]] * 4
    assert world.admin.value("select count(*) from public.organization_members where organization_slug = %s", slug) == 1


def test_a_taken_slug_is_refused_to_others(tenant: Tenant) -> None:
    for user in (tenant.world.user(), tenant.join("admin")):
        with refused("PT409", "slug_taken"):
            user.call("create_organization", slug=tenant.slug, name="Mine")


BAD_HOSTS = (
    "",
    "*",
    "*.",
    "api.*",
    "a*.acme.com",
    "*.*.acme.com",
    "https://api.acme.com",
    "api.acme.com/path",
    "api.acme.com:443",
    "api.acme.com.",
    "api..acme.com",
    "-api.acme.com",
    "user@acme.com",
    "api acme.com",
    "api.acme.com\n",
    "bücher.example",
    "[::1]",
    "a" * 64 + ".com",
    ".".join(["abcdefg"] * 32),
)


@pytest.mark.parametrize(
    "bad",
    [
        {"slug": "Not A Slug"},
        {"slug": "x"},
        {"slug": None},
        {"name": " "},
        {"name": None},
        {"name": "n" * 256},
        {"settings": Jsonb([])},
        {"settings": {"limits": {"max_agents": "many"}}},
        {"settings": {"limits": {"max_agents": -1}}},
        {"settings": {"limits": 7}},
        {"settings": {"network": []}},
        {"settings": {"network": None}},
        {"settings": {"network": {"allowed_hosts": "api.acme.com"}}},
        {"settings": {"network": {"allowed_hosts": None}}},
        {"settings": {"network": {"allowed_hosts": [7]}}},
        *({"settings": {"network": {"allowed_hosts": [host]}}} for host in BAD_HOSTS),
        {"settings": {"network": {"allowed_hosts": ["a.example"] * 101}}},
    ],
    ids=str,
)
def test_a_malformed_organization_is_refused(world: World, bad: dict[str, Any]) -> None:
    with refused("22023", "value_refused"):
        world.user().call("create_organization", **{"slug": new_name("org"), "name": "Acme", **bad})


def test_an_owner_says_which_hosts_agents_may_call(tenant: Tenant) -> None:
    hosts = ["api.acme.com", "*.acme.com", "API.Acme.com", "xn--bcher-kva.example", "93.184.215.14", "a_b.example"] + [
        f"host-{number}.acme.com" for number in range(94)
    ]
    settings = {"network": {"allowed_hosts": hosts}, "limits": {"max_agents": 5}}
    tenant.owner.update("organizations", {"slug": tenant.slug}, settings=settings)
    tenant.owner.update("organizations", {"slug": tenant.slug}, settings={"network": {"allowed_hosts": []}})
    with refused("23514") as refusal:
        tenant.owner.update("organizations", {"slug": tenant.slug}, settings={"network": {"allowed_hosts": ["*"]}})
    assert "allowed_hosts_are_host_patterns" in refusal.message


@pytest.mark.parametrize(
    ("settings", "wrong", "known"),
    [
        ({"limits": {"max_agents": 1, "max_agent": 1}}, 'settings.limits has no "max_agent"', "max_monthly_cost"),
        ({"limits": {"": 1}}, 'settings.limits has no ""', "max_concurrent_tasks"),
        ({"network": {"allowed_host": ["a.example"]}}, 'settings.network has no "allowed_host"', "allowed_hosts"),
    ],
)
def test_a_misspelt_limit_is_refused_and_the_known_ones_are_named(
    world: World, tenant: Tenant, settings: dict[str, Any], wrong: str, known: str
) -> None:
    with refused("22023", "unknown_setting") as refusal:
        tenant.owner.update("organizations", {"slug": tenant.slug}, settings=settings)
    assert wrong in refusal.detail
    assert known in refusal.hint
    with refused("22023", "unknown_setting"):
        world.user().call("create_organization", slug=new_name("org"), name="Acme", settings=settings)
    if "limits" in settings:
        with refused("22023", "unknown_setting"):
            tenant.owner.call("set_organization_limits", organization_slug=tenant.slug, limits=settings["limits"])


def test_an_owner_deletes_the_organization_with_everything_in_it(world: World, tenant: Tenant) -> None:
    tenant.task(tenant.join("member"), agent_conversation_id=None)
    tenant.conversation()
    assert tenant.owner.execute("delete from public.organizations where slug = %s", tenant.slug) == 1
    assert profile(world, tenant.owner) == (None, [])
    assert world.admin.rows("select from public.agents where slug = %s", tenant.agent) == []


def test_deleting_an_organization_leaves_its_members_their_others(world: World, tenant: Tenant) -> None:
    other = world.tenant()
    member = tenant.join("member", other.join("viewer"))
    world.admin.update("users", {"id": member.id}, organization_slug=tenant.slug)
    assert tenant.owner.execute("delete from public.organizations where slug = %s", tenant.slug) == 1
    assert profile(world, member) == (other.slug, [other.slug])


def test_a_shared_agent_loses_a_deleted_organization_and_stays(world: World, tenant: Tenant) -> None:
    other = world.tenant()
    shared = tenant.add_agent(organization_slug=[tenant.slug, other.slug])
    tenant.owner.execute("delete from public.organizations where slug = %s", tenant.slug)
    assert world.admin.value("select organization_slug from public.agents where slug = %s", shared) == [other.slug]
    world.admin.execute("delete from public.organizations where slug = %s", other.slug)
    assert world.admin.rows("select from public.agents where slug = %s", shared) == []


# Roles


@pytest.mark.parametrize("caller", RANK)
@pytest.mark.parametrize("subject", RANK)
@pytest.mark.parametrize("role", RANK)
def test_nobody_changes_or_raises_a_member_above_their_own_role(
    scene: World, caller: str, subject: str, role: str
) -> None:
    tenant = scene.tenant()
    actor = tenant.join(caller)
    member = tenant.join(subject)
    allowed = RANK[caller] >= RANK["admin"] and RANK[caller] >= max(RANK[subject], RANK[role])
    if allowed:
        assert set_role(actor, tenant, member, role)["role"] == role
    else:
        with refused("42501"):
            set_role(actor, tenant, member, role)
    assert role_of(tenant, member) == (role if allowed else subject)


@pytest.mark.parametrize("role", RANK)
def test_everybody_steps_down_and_nobody_up(tenant: Tenant, role: str) -> None:
    user = tenant.join("developer")
    if RANK[role] > RANK["developer"]:
        with refused("42501", "role_too_high"):
            set_role(user, tenant, user, role)
    else:
        assert set_role(user, tenant, user, role)["role"] == role


@pytest.mark.parametrize("caller", RANK)
@pytest.mark.parametrize("subject", RANK)
def test_admins_remove_members_up_to_their_own_role(scene: World, caller: str, subject: str) -> None:
    tenant = scene.tenant()
    actor, member = tenant.join(caller), tenant.join(subject)
    allowed = RANK[caller] >= max(RANK["admin"], RANK[subject])
    if allowed:
        assert remove(actor, tenant, member)["user_id"] == member.id
    else:
        with refused("42501"):
            remove(actor, tenant, member)
    assert (role_of(tenant, member) is None) == allowed


def test_an_admin_removes_a_member_who_is_in_another_organization_too(world: World, tenant: Tenant) -> None:
    member = tenant.join("member")
    other = world.tenant()
    other.join("member", member)
    remove(tenant.owner, tenant, member)
    assert profile(world, member) == (other.slug, [other.slug])


@pytest.mark.parametrize("role", ["boss", "", "OWNER", None])
def test_an_unknown_role_is_refused(tenant: Tenant, role: str | None) -> None:
    with refused("22023", "unknown_role"):
        set_role(tenant.owner, tenant, tenant.join("member"), role)


def test_a_stranger_is_neither_changed_nor_heard(tenant: Tenant) -> None:
    stranger = tenant.world.user()
    with refused("PT404", "member_not_found"):
        set_role(tenant.owner, tenant, stranger, "member")
    with refused("PT404", "member_not_found"):
        remove(tenant.owner, tenant, stranger)
    with refused("42501", "not_allowed"):
        set_role(stranger, tenant, tenant.owner, "viewer")
    with refused("42501", "not_allowed"):
        leave(stranger, tenant)


def test_a_server_sets_any_role(tenant: Tenant) -> None:
    member = tenant.join("member")
    assert set_role(tenant.world.service, tenant, member, "owner")["role"] == "owner"


# The last owner


def test_the_last_owner_neither_leaves_nor_steps_down_nor_is_removed(tenant: Tenant) -> None:
    tenant.join("admin")
    acts: list[Callable[[], Any]] = [
        lambda: leave(tenant.owner, tenant),
        lambda: set_role(tenant.owner, tenant, tenant.owner, "admin"),
        lambda: remove(tenant.world.service, tenant, tenant.owner),
        lambda: tenant.world.service.execute(
            "delete from public.organization_members where organization_slug = %s", tenant.slug
        ),
    ]
    for act in acts:
        with refused("PT409", "last_owner"):
            act()
    assert role_of(tenant, tenant.owner) == "owner"


@pytest.mark.parametrize("way", ["leave", "step down", "delete account"])
def test_of_two_owners_who_go_at_once_one_stays(world: World, tenant: Tenant, way: str) -> None:
    first, second, member = tenant.owner, tenant.join("owner"), tenant.join("member")
    if way == "delete account":
        when_it_waited(
            world.admin, lambda s: delete_account(s, first), world.admin, lambda s: delete_account(s, second)
        )
        assert role_of(tenant, member) == "owner"
        return
    go: Callable[[Session], Any] = (
        (lambda s: leave(s, tenant)) if way == "leave" else (lambda s: set_role(s, tenant, s, "viewer"))
    )
    error = when_it_waited(first, go, second, go)
    assert error.diag.message_primary == "last_owner"
    assert role_of(tenant, second) == "owner"


@pytest.mark.parametrize("end", [None, "viewer", "member"])
@pytest.mark.parametrize("deed", ["raise", "remove"])
def test_an_admin_who_loses_the_role_meanwhile_acts_no_more(tenant: Tenant, end: str | None, deed: str) -> None:
    admin, friend = tenant.join("admin"), tenant.join("viewer")
    error = when_it_waited(
        tenant.owner,
        lambda s: set_role(s, tenant, admin, end) if end else remove(s, tenant, admin),
        admin,
        lambda s: set_role(s, tenant, friend, "member") if deed == "raise" else remove(s, tenant, friend),
    )
    assert isinstance(error, psycopg.errors.InsufficientPrivilege)
    assert role_of(tenant, friend) == "viewer"


def test_the_most_senior_member_follows_a_deleted_owner(world: World, tenant: Tenant) -> None:
    tenant.join("member")
    admin, _ = tenant.join("admin"), tenant.join("admin")
    delete_account(world.admin, tenant.owner)
    assert role_of(tenant, admin) == "owner"


def test_a_suspended_member_does_not_follow_a_deleted_owner(world: World, tenant: Tenant) -> None:
    suspended, member = tenant.join("admin"), tenant.join("member")
    world.admin.update("users", {"id": suspended.id}, status="suspended")
    delete_account(world.admin, tenant.owner)
    assert (role_of(tenant, suspended), role_of(tenant, member)) == ("admin", "owner")


def test_an_account_is_deleted_even_when_its_organization_is_left_empty(world: World, tenant: Tenant) -> None:
    assert delete_account(world.admin, tenant.owner) == 1
    assert role_of(tenant, tenant.owner) is None


# What follows from membership


def test_namespaces_and_current_organization_follow_membership(world: World) -> None:
    first, second, user = world.tenant(), world.tenant(), world.user()
    assert profile(world, user) == (None, [])
    first.join("member", user)
    second.join("viewer", user)
    assert profile(world, user) == (first.slug, sorted([first.slug, second.slug]))
    user.update("users", {"id": user.id}, organization_slug=second.slug)
    assert profile(world, user)[0] == second.slug
    leave(user, second)
    assert profile(world, user) == (first.slug, [first.slug])
    leave(user, first)
    assert profile(world, user) == (None, [])


def test_a_change_of_membership_acts_within_an_open_transaction(tenant: Tenant) -> None:
    member = tenant.join("member")
    with member.fresh() as own, own.transaction() as connection:
        agents = "select count(*) as n from public.agents"
        assert connection.execute(agents).fetchone() == {"n": 1}
        remove(tenant.owner, tenant, member)
        assert connection.execute(agents).fetchone() == {"n": 0}


@pytest.mark.parametrize("table", ["organizations", "organization_members", "agents", "agent_conversations", "tasks"])
@pytest.mark.parametrize("why", ["suspended", "deactivated", "inactive organization"])
def test_nothing_is_seen_by_the_suspended_or_of_the_inactive(world: World, table: str, why: str) -> None:
    tenant = world.tenant()
    tenant.task(agent_conversation_id=tenant.conversation())
    tenant.add_agent(organization_slug=[], owner_user_id=tenant.owner.id)
    count = f"select count(*) from public.{table}"
    assert tenant.owner.value(count) > 0
    private = 0
    if why == "inactive organization":
        world.admin.update("organizations", {"slug": tenant.slug}, is_active=False)
        private = table == "agents"
    else:
        world.admin.update("users", {"id": tenant.owner.id}, status=why)
    assert tenant.owner.value(count) == private


def test_the_suspended_create_nothing(world: World, tenant: Tenant) -> None:
    world.admin.update("users", {"id": tenant.owner.id}, status="suspended")
    with refused("42501", "not_signed_in"):
        tenant.owner.call("create_organization", slug=new_name("org"), name="Acme")
    with refused("42501", "not_allowed"):
        tenant.task()
    with refused("42501", "not_allowed"):
        tenant.owner.call("create_invitation", organization_slug=tenant.slug, email="a@example.com")
    with refused("42501"):
        private = {**AGENT, "slug": new_name("agent"), "organization_slug": [], "owner_user_id": tenant.owner.id}
        tenant.owner.insert("agents", **private)


def test_what_a_member_had_in_the_queue_ends_with_the_membership(world: World, tenant: Tenant) -> None:
    member, worker = tenant.join("member"), world.worker()
    waiting, running = tenant.task(member, priority=2), tenant.task(member, priority=1)
    mine = tenant.task()
    lease = worker.claim_one(tenant)
    assert lease["task"]["id"] == str(running)
    tenant.owner.call("remove_member", organization_slug=tenant.slug, user_id=member.id)
    assert [tenant.read(task)["status"] for task in (waiting, running, mine)] == ["cancelled", "cancelled", "pending"]
    assert worker.complete(lease) == "cancelled"
