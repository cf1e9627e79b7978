"""The audit log: who changed what, without secrets, append-only, and for admins alone."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.fernet import Fernet
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, new_name, refused

HIDDEN = "[redacted]"
SECRET = "s3cret-value"
TOKEN = Fernet(Fernet.generate_key()).encrypt(b"x").decode()
ENDPOINT = {
    "url": "https://example.com/agent",
    "headers": {"X-Api-Key": SECRET},
    "authentication": {"type": "bearer", "config": {"token": SECRET}},
}


def log(tenant: Tenant, table: str | None = None) -> list[Row]:
    """Read what was written of this organization, oldest first."""
    return tenant.world.admin.rows(
        "select * from public.audit_logs where organization_slug = %s and table_name = coalesce(%s, table_name)"
        " order by id",
        tenant.slug,
        table,
    )


def new_entries(tenant: Tenant, table: str, deed: Callable[[], Any]) -> list[Row]:
    before = len(log(tenant, table))
    deed()
    return log(tenant, table)[before:]


def the_entry(tenant: Tenant, table: str, deed: Callable[[], Any]) -> Row:
    (entry,) = new_entries(tenant, table, deed)
    return entry


def who(entry: Row) -> tuple[str | None, str, str]:
    actor = entry["actor_user_id"]
    return (str(actor) if actor else None, entry["actor_role"], entry["action"])


def text_of(tenant: Tenant) -> str:
    return str(
        tenant.world.admin.value(
            "select coalesce(string_agg(a::text, ' '), '') from public.audit_logs a where a.organization_slug = %s",
            tenant.slug,
        )
    )


def add_repository(session: Session, tenant: Tenant) -> Row:
    row = {"organization_slug": tenant.slug, "name": "agents", "git_url": "https://git.example.com/a/b"}
    return session.insert("agent_repositories", **row)


# Each audited table


def test_an_organization(tenant: Tenant) -> None:
    owner = tenant.owner
    entry = the_entry(tenant, "organizations", lambda: owner.update("organizations", {"slug": tenant.slug}, name="New"))
    assert who(entry) == (owner.id, "authenticated", "update")
    assert (entry["row_key"], entry["changes"]) == (tenant.slug, {"name": [tenant.slug, "New"]})
    entry = the_entry(
        tenant,
        "organizations",
        lambda: owner.call("set_organization_limits", organization_slug=tenant.slug, limits={"max_agents": 7}),
    )
    assert entry["changes"] == {"settings": [{}, {"limits": {"max_agents": 7}}]}
    entry = the_entry(
        tenant,
        "organizations",
        lambda: tenant.world.service.update("organizations", {"slug": tenant.slug}, subscription_tier="pro"),
    )
    assert who(entry) == (None, "service_role", "update")
    entry = the_entry(
        tenant,
        "organizations",
        lambda: tenant.world.admin.update("organizations", {"slug": tenant.slug}, is_active=False),
    )
    assert who(entry) == (None, "postgres", "update")


def test_a_member(tenant: Tenant) -> None:
    user = tenant.world.user()
    entry = the_entry(tenant, "organization_members", lambda: tenant.join("member", user))
    assert (entry["action"], entry["row_key"], entry["changes"]["role"]) == ("insert", user.id, [None, "member"])
    call = {"organization_slug": tenant.slug, "user_id": user.id}
    entry = the_entry(
        tenant, "organization_members", lambda: tenant.owner.call("set_member_role", **call, role="admin")
    )
    assert (who(entry), entry["changes"]) == (
        (tenant.owner.id, "authenticated", "update"),
        {"role": ["member", "admin"]},
    )
    entry = the_entry(tenant, "organization_members", lambda: tenant.owner.call("remove_member", **call))
    assert (entry["action"], entry["changes"]["role"]) == ("delete", ["admin", None])


def test_an_invitation_without_its_token(tenant: Tenant) -> None:
    user = tenant.world.user()
    given: list[Row] = []

    def invite() -> None:
        given.append(tenant.owner.call("create_invitation", organization_slug=tenant.slug, email=user.email))

    assert the_entry(tenant, "organization_invitations", invite)["changes"]["token_hash"] == [HIDDEN]
    entry = the_entry(tenant, "organization_invitations", invite)  # again: a new token
    assert (entry["row_key"], entry["changes"]["token_hash"]) == (user.email, [HIDDEN])
    entry = the_entry(
        tenant, "organization_invitations", lambda: user.call("accept_invitation", token=given[-1]["token"])
    )
    assert who(entry) == (user.id, "authenticated", "update")
    hashes = tenant.world.admin.rows("select token_hash from public.organization_invitations")
    assert not [row for row in hashes if row["token_hash"] in text_of(tenant)]
    assert not [invitation for invitation in given if invitation["token"] in text_of(tenant)]


def test_an_agent_without_the_secrets_of_its_endpoint(tenant: Tenant) -> None:
    service = tenant.world.service  # Members keep credentials among the secrets.
    agent = tenant.add_agent(agent_type="api", llm_config=None, endpoint=ENDPOINT)
    changed = ENDPOINT | {"url": "https://example.com/new", "headers": {"X-Api-Key": SECRET + "2"}}
    entry = the_entry(tenant, "agents", lambda: service.update("agents", {"slug": agent}, endpoint=changed))
    old, new = entry["changes"]["endpoint"]
    assert (entry["row_key"], old["url"], new["url"]) == (agent, ENDPOINT["url"], changed["url"])
    assert {old["headers"], old["authentication"], new["headers"], new["authentication"]} == {HIDDEN}
    assert entry["changes"]["version"] == ["1.0.0", "1.0.1"]
    only_secret = changed | {"headers": {"X-Api-Key": SECRET + "3"}}
    entry = the_entry(tenant, "agents", lambda: service.update("agents", {"slug": agent}, endpoint=only_secret))
    assert "endpoint" in entry["changes"]
    deleted = the_entry(
        tenant, "agents", lambda: tenant.owner.execute("delete from public.agents where slug = %s", agent)
    )
    assert deleted["action"] == "delete"
    assert SECRET not in text_of(tenant)


@pytest.mark.parametrize(
    "place", [{"list": [{"headers": SECRET}]}, {"deep": {"er": {"authentication": SECRET}}}], ids=["list", "deep"]
)
def test_secrets_anywhere_in_the_json_are_hidden(tenant: Tenant, place: Row) -> None:
    tenant.owner.update("agents", {"slug": tenant.agent}, metadata=place)
    assert "metadata" in log(tenant, "agents")[-1]["changes"]
    assert SECRET not in text_of(tenant)


def test_an_agent_of_two_organizations_is_told_to_both(tenant: Tenant) -> None:
    other = tenant.world.tenant()
    agent = tenant.add_agent()
    service = tenant.world.service
    both = [tenant.slug, other.slug]
    deeds: list[tuple[Callable[[], Any], int, int]] = [
        (lambda: service.update("agents", {"slug": agent}, organization_slug=both), 1, 1),
        (lambda: service.update("agents", {"slug": agent}, name="Author"), 1, 1),
        (lambda: service.update("agents", {"slug": agent}, organization_slug=[other.slug]), 1, 1),
        (lambda: service.update("agents", {"slug": agent}, name="Editor"), 0, 1),
    ]
    for deed, here, there in deeds:
        before = len(log(tenant, "agents")), len(log(other, "agents"))
        deed()
        after = len(log(tenant, "agents")), len(log(other, "agents"))
        assert (after[0] - before[0], after[1] - before[1]) == (here, there)


def test_a_repository_and_its_credential(tenant: Tenant) -> None:
    owner = tenant.owner
    made: list[Row] = []
    entry = the_entry(tenant, "agent_repositories", lambda: made.append(add_repository(owner, tenant)))
    assert (entry["row_key"], entry["changes"]["git_url"]) == ("agents", [None, "https://git.example.com/a/b"])
    key = made[0]["id"]

    def credential() -> None:
        owner.call("set_git_credential", repository_id=key, encrypted_token=TOKEN, username="bot")

    entry = the_entry(tenant, "git_credentials", credential)
    assert (who(entry), entry["row_key"]) == ((owner.id, "authenticated", "insert"), str(key))
    assert (entry["changes"]["encrypted_token"], entry["changes"]["username"]) == ([HIDDEN], [None, "bot"])
    entry = the_entry(
        tenant,
        "git_credentials",
        lambda: owner.execute("delete from public.git_credentials where repository_id = %s", key),
    )
    assert entry["action"] == "delete"
    assert TOKEN not in text_of(tenant)


def test_a_credential_that_goes_with_its_repository(tenant: Tenant) -> None:
    repository = add_repository(tenant.owner, tenant)
    tenant.owner.call("set_git_credential", repository_id=repository["id"], encrypted_token=TOKEN)
    entry = the_entry(
        tenant,
        "git_credentials",
        lambda: tenant.owner.execute("delete from public.agent_repositories where id = %s", repository["id"]),
    )
    assert (entry["action"], entry["row_key"]) == ("delete", str(repository["id"]))


def test_a_schedule_but_not_its_runs(tenant: Tenant) -> None:
    row = {"organization_slug": tenant.slug, "name": "Daily", "cron": "0 6 * * *", "method": "process", "prompt": "Go."}
    entry = the_entry(tenant, "schedules", lambda: tenant.owner.insert("schedules", **row))
    assert (entry["action"], entry["row_key"], entry["changes"]["cron"]) == ("insert", "Daily", [None, "0 6 * * *"])
    entry = the_entry(
        tenant, "schedules", lambda: tenant.owner.update("schedules", {"name": "Daily"}, cron="0 7 * * *")
    )
    assert entry["changes"] == {"cron": ["0 6 * * *", "0 7 * * *"]}
    kept = {"next_run_at": "2030-01-01", "last_run_at": "2026-01-01"}
    assert (
        new_entries(
            tenant,
            "schedules",
            lambda: tenant.world.service.update("schedules", {"organization_slug": tenant.slug}, **kept),
        )
        == []
    )


def test_an_answer(tenant: Tenant) -> None:
    row = {"organization_slug": tenant.slug, "prompt": "Go?", "required_role": "admin"}
    question = tenant.world.service.insert("input_requests", **row)
    assert log(tenant, "input_requests") == []
    entry = the_entry(
        tenant,
        "input_requests",
        lambda: tenant.owner.call("respond_to_input_request", input_request_id=question["id"], response=Jsonb(True)),
    )
    assert who(entry) == (tenant.owner.id, "authenticated", "update")
    assert entry["changes"]["status"] == ["pending", "answered"]


# The log itself


def test_an_update_that_changes_nothing_is_not_told(tenant: Tenant) -> None:
    add_repository(tenant.owner, tenant)
    before = len(log(tenant))
    service = tenant.world.service
    for table, key, column in (
        ("organizations", "slug", "name"),
        ("organization_members", "organization_slug", "role"),
        ("agent_repositories", "organization_slug", "branch"),
    ):
        assert service.execute(f"update public.{table} set {column} = {column} where {key} = %s", tenant.slug) == 1
    assert service.execute("update public.agents set name = name where slug = %s", tenant.agent) == 1
    assert len(log(tenant)) == before


def test_what_was_rolled_back_is_not_told(tenant: Tenant) -> None:
    before = len(log(tenant))
    with tenant.owner.transaction(keep=False) as connection:
        connection.execute("update public.organizations set name = 'New' where slug = %s", [tenant.slug])
    assert len(log(tenant)) == before


def test_nobody_rewrites_the_log(tenant: Tenant) -> None:
    (entry, *_) = log(tenant)
    with refused("PT409", "append_only"):
        tenant.world.admin.update("audit_logs", {"id": entry["id"]}, action="delete")
    for session in (tenant.world.service, tenant.owner):
        with refused("42501"):
            session.update("audit_logs", {"id": entry["id"]}, action="delete")
    with refused("42501"):
        tenant.owner.execute("delete from public.audit_logs where id = %s", entry["id"])
    with refused("42501"):
        tenant.owner.insert(
            "audit_logs",
            organization_slug=tenant.slug,
            actor_role="x",
            action="insert",
            table_name="x",
            row_key=str(uuid.uuid4()),
        )
    for session in (tenant.world.service, tenant.owner):
        with refused("42501"):
            session.execute("truncate public.audit_logs")


@pytest.mark.parametrize(
    ("role", "sees"), [("viewer", False), ("member", False), ("developer", False), ("admin", True)]
)
def test_only_admins_read_it(tenant: Tenant, role: str, sees: bool) -> None:
    session = tenant.join(role)
    assert bool(session.rows("select from public.audit_logs")) == sees
    assert {r["organization_slug"] for r in session.rows("select * from public.audit_logs")} <= {tenant.slug}
    with refused("42501"):
        tenant.world.anon.rows("select from public.audit_logs")


def test_it_outlives_the_organization(tenant: Tenant) -> None:
    repository = add_repository(tenant.owner, tenant)
    tenant.owner.call("set_git_credential", repository_id=repository["id"], encrypted_token=TOKEN)
    before = log(tenant)
    tenant.owner.execute("delete from public.organizations where slug = %s", tenant.slug)
    after = log(tenant)
    assert after[: len(before)] == before
    told = {(row["table_name"], row["action"]) for row in after[len(before) :]}
    assert {(t, "delete") for t in ("organizations", "organization_members", "agents", "agent_repositories")} <= told
    assert tenant.owner.rows("select from public.audit_logs") == []
    newcomer = tenant.world.user()
    slug = new_name("org")
    newcomer.call("create_organization", slug=slug, name="N")
    tenant.world.slugs.append(slug)
    assert {r["organization_slug"] for r in newcomer.rows("select * from public.audit_logs")} == {slug}
