"""Repositories of agents: what their addresses may be, and credentials that go in and never come out."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest
from cryptography.fernet import Fernet
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, World, in_parallel, refused

SECRET = "a-token-in-the-clear"
FERNET = Fernet(Fernet.generate_key())


def encrypted(text: str = SECRET) -> str:
    return FERNET.encrypt(text.encode()).decode()


def add(session: Session, tenant: Tenant, **columns: Any) -> Row:
    row = {"organization_slug": tenant.slug, "name": uuid.uuid4().hex, "git_url": "https://git.example.com/a/b.git"}
    return session.insert("agent_repositories", **{**row, **columns})


def set_token(session: Session, repository: Row, token: str | None = None, **more: Any) -> Row:
    answer: Row = session.call(
        "set_git_credential", repository_id=repository["id"], encrypted_token=token or encrypted(), **more
    )
    return answer


@pytest.fixture(scope="module")
def place(scene: World) -> Tenant:
    return scene.tenant()


@pytest.mark.parametrize(
    "columns",
    [
        {"git_url": "https://git.example.com/a/b"},
        {"git_url": "http://127.0.0.1:3000/a.git"},
        {"git_url": "https://git.example.com/a/@b/c~d.git"},
        {"branch": "feature/one.two_3-x"},
        {"branch": "v1.0"},
        {"agent_directory": "agents"},
        {"agent_directory": "a/b..c/.agents"},
        {"agent_directory": None, "is_root": True},
    ],
    ids=str,
)
def test_a_sound_repository_is_taken(place: Tenant, columns: Row) -> None:
    repository = add(place.owner, place, **columns)
    assert {c: repository[c] for c in columns} == columns
    assert (repository["last_sync_status"], str(repository["created_by"])) == ("never_synced", place.owner.id)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(
            ("git_url", url)
            for url in (
                "https://user:secret@git.example.com/a",
                "https://token@git.example.com/a",
                "git@git.example.com:a/b.git",
                "ssh://git.example.com/a",
                "file:///etc/passwd",
                "ext::sh -c true",
                "--upload-pack=x",
                "https://git.example.com",
                "https://git.example.com/a b",
                "https://git.example.com/a\nb",
                "https:///a",
                "",
                "https://x/" + "a" * 1024,
            )
        ),
        *(("branch", b) for b in ("", "-f", "/a", ".a", "a..b", "a b", "a~1", "a^", "a:b", "a\nb", "@{u}", "a" * 256)),
        *(("agent_directory", d) for d in ("", "/a", "\\a", "..", "../a", "a/..", "a/../b", "a" * 256)),
        ("name", " "),
        ("name", "n" * 256),
    ],
    ids=lambda v: str(v)[:40],
)
def test_an_unsound_repository_is_refused(place: Tenant, column: str, value: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        add(place.owner, place, **{column: value})


def test_names_are_unique_within_an_organization(world: World, tenant: Tenant) -> None:
    add(tenant.owner, tenant, name="agents")
    with refused("23505"):
        add(tenant.owner, tenant, name="agents")
    other = world.tenant()
    assert add(other.owner, other, name="agents")["name"] == "agents"


@pytest.mark.parametrize(("role", "may"), [("viewer", 0), ("member", 0), ("developer", 1), ("admin", 1)])
def test_developers_keep_repositories_and_members_read_them(tenant: Tenant, role: str, may: int) -> None:
    repository = add(tenant.owner, tenant)
    session = tenant.join(role)
    assert len(session.rows("select from public.agent_repositories")) == 1
    if may:
        add(session, tenant)
    else:
        with refused("42501"):
            add(session, tenant)
    assert session.update("agent_repositories", {"id": repository["id"]}, branch="next") == may
    assert session.execute("delete from public.agent_repositories where id = %s", repository["id"]) == may
    assert tenant.world.tenant().owner.rows("select from public.agent_repositories") == []


# Credentials


def kept(tenant: Tenant, repository: Row) -> list[Row]:
    return tenant.world.admin.rows("select * from public.git_credentials where repository_id = %s", repository["id"])


def test_an_admin_sets_a_credential_and_nobody_gets_the_token_back(tenant: Tenant) -> None:
    repository, token, admin = add(tenant.owner, tenant), encrypted(), tenant.join("admin")
    answer = set_token(admin, repository, token, username="bot", provider="github", token_name="ci")
    assert "encrypted_token" not in answer
    assert (answer["username"], answer["provider"], answer["token_name"]) == ("bot", "github", "ci")
    (row,) = kept(tenant, repository)
    assert FERNET.decrypt(row["encrypted_token"].encode()).decode() == SECRET
    assert admin.rows("select id, username, expires_at from public.git_credentials")
    for session in (admin, tenant.owner, tenant.world.service, tenant.join("developer"), tenant.world.anon):
        for columns in ("encrypted_token", "*", "length(encrypted_token)"):
            with refused("42501"):
                session.rows(f"select {columns} from public.git_credentials")
        with refused("42501"):
            session.rows("select id from public.git_credentials where encrypted_token like 'g%%'")


def test_a_token_in_the_clear_is_refused_and_not_repeated(tenant: Tenant) -> None:
    repository = add(tenant.owner, tenant)
    for plain in ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "", "gAAAA", "gAAAA" + "!" * 80, encrypted()[1:]):
        with refused("22023", "token_not_encrypted") as refusal:
            tenant.owner.call("set_git_credential", repository_id=repository["id"], encrypted_token=plain)
        assert not plain or plain not in refusal.detail + refusal.hint
    with refused("22023", "token_not_encrypted"):
        tenant.owner.call("set_git_credential", repository_id=repository["id"], encrypted_token=None)
    assert kept(tenant, repository) == []


@pytest.mark.parametrize(
    "bad",
    [{"username": "u" * 256}, {"provider": "p" * 51}, {"token_name": "t" * 256}, {"token": "gAAAA" + "A" * 20_000}],
)
def test_a_malformed_credential_is_refused_without_showing_it(tenant: Tenant, bad: Row) -> None:
    repository = add(tenant.owner, tenant)
    with refused("22023", "value_refused") as refusal:
        set_token(tenant.owner, repository, **bad)
    assert "gAAAA" not in refusal.detail


def test_a_new_credential_replaces_the_old_one(tenant: Tenant) -> None:
    repository = add(tenant.owner, tenant)
    first = set_token(tenant.owner, repository, username="old", expires_at="2030-01-01")
    tenant.world.admin.update("git_credentials", {"id": first["id"]}, last_used_at="2026-01-01")
    token = encrypted("another")
    second = set_token(tenant.owner, repository, token)
    assert (second["id"], second["username"], second["expires_at"], second["last_used_at"]) == (
        first["id"],
        None,
        None,
        None,
    )
    assert [row["encrypted_token"] for row in kept(tenant, repository)] == [token]


def test_a_credential_is_not_sent_to_an_address_that_a_developer_puts_in_its_place(tenant: Tenant) -> None:
    repository = add(tenant.owner, tenant)
    developer, service = tenant.join("developer"), tenant.world.service
    set_token(tenant.owner, repository)
    for harmless in ({"branch": "next"}, {"name": "renamed"}, {"git_url": repository["git_url"]}):
        assert developer.update("agent_repositories", {"id": repository["id"]}, **harmless) == 1
    answer = service.call("read_git_credential", repository_id=repository["id"])
    assert answer["git_url"] == repository["git_url"]
    developer.update("agent_repositories", {"id": repository["id"]}, git_url="https://evil.example/a/b.git")
    assert service.call("read_git_credential", repository_id=repository["id"]) is None
    assert kept(tenant, repository) == []


def test_ten_credentials_at_once_leave_one(tenant: Tenant) -> None:
    repository = add(tenant.owner, tenant)
    results = in_parallel([tenant.owner] * 10, lambda s: set_token(s, repository)["id"])
    assert len(set(results)) == len(kept(tenant, repository)) == 1


@pytest.mark.parametrize("role", ["viewer", "member", "developer"])
def test_only_admins_have_to_do_with_credentials(tenant: Tenant, role: str) -> None:
    repository = add(tenant.owner, tenant)
    set_token(tenant.owner, repository)
    session = tenant.join(role)
    with refused("PT404", "repository_not_found"):
        set_token(session, repository)
    assert session.rows("select id from public.git_credentials") == []
    assert session.execute("delete from public.git_credentials where repository_id = %s", repository["id"]) == 0
    assert tenant.owner.execute("delete from public.git_credentials where repository_id = %s", repository["id"]) == 1


def test_foreign_and_unknown_repositories_are_answered_alike(tenant: Tenant) -> None:
    repository = add(tenant.owner, tenant)
    details = []
    for session, found in ((tenant.world.tenant().owner, repository), (tenant.owner, {"id": uuid.uuid4()})):
        with refused("PT404", "repository_not_found") as refusal:
            set_token(session, found)
        details.append(refusal.detail.replace(str(found["id"]), "…"))
    assert details[0] == details[1]
    for session in (tenant.owner, tenant.world.service):
        with refused("42501"):
            session.execute(
                "insert into public.git_credentials (repository_id, encrypted_token) values (%s, %s)",
                repository["id"],
                encrypted(),
            )


# Agents found in a repository


def found(tenant: Tenant, repository: Row, **columns: Any) -> Row:
    row = {"agent_repository_id": repository["id"], "name": "Writer", "file_path": "a.md", "content_hash": "x"}
    return tenant.world.service.insert("git_agents", **{**row, **columns})


def test_a_git_agent_is_a_file_and_at_most_one_agent(tenant: Tenant) -> None:
    repository, other = add(tenant.owner, tenant), add(tenant.owner, tenant)
    found(tenant, repository, agent_slug=tenant.agent)
    with refused("23505"):
        found(tenant, repository)
    with refused("23505"):
        found(tenant, other, agent_slug=tenant.agent)
    tenant.world.service.execute("delete from public.agents where slug = %s", tenant.agent)
    row = tenant.owner.row("select * from public.git_agents")
    assert (row["agent_slug"], row["is_active"]) == (None, True)
    assert tenant.world.tenant().owner.rows("select from public.git_agents") == []
    with refused("42501"):
        tenant.owner.update("git_agents", {"id": row["id"]}, is_active=False)
    tenant.owner.execute("delete from public.agent_repositories where id = %s", repository["id"])
    assert tenant.owner.rows("select from public.git_agents") == []


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("file_path", "/etc/passwd"),
        ("file_path", "../a.md"),
        ("file_path", "a/../../b.md"),
        ("file_path", ""),
        ("frontmatter", Jsonb([])),
    ],
)
def test_an_unsound_git_agent_is_refused(place: Tenant, column: str, value: Any) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        found(place, add(place.owner, place), **{column: value})
