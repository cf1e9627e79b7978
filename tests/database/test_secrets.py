"""Secrets of organizations: they go in and never come out but to workers, and a new key loses none of them.

Over 400 lines, because it mirrors the migration of secrets part by part.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.fernet import Fernet
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, World, connect, in_parallel, refused
from tests.database.scratch import FILES, apply, instance_of, scratch_database
from tests.database.vault import VAULT
from tests.stack import Stack

FERNET = Fernet(Fernet.generate_key())
PLAIN = "sk-in-the-clear-0123456789"
HIDDEN = "[redacted]"


def encrypted(text: str = PLAIN) -> str:
    return FERNET.encrypt(text.encode()).decode()


def put(session: Session, tenant: Tenant, name: str = "STRIPE_KEY", **arguments: Any) -> Row:
    """Set a secret, by default as a new ciphertext."""
    arguments = arguments or {"ciphertext": encrypted()}
    row: Row = session.call("set_organization_secret", organization_slug=tenant.slug, name=name, **arguments)
    return row


def read(tenant: Tenant, *names: str, session: Session | None = None) -> list[Row]:
    answer: list[Row] = (session or tenant.world.service).call(
        "read_organization_secrets", organization_slug=tenant.slug, names=list(names)
    )
    return answer


def kept(tenant: Tenant) -> list[Row]:
    return tenant.world.admin.rows(
        "select * from public.organization_secrets where organization_slug = %s order by name", tenant.slug
    )


def audit(tenant: Tenant) -> list[Row]:
    return tenant.world.admin.rows(
        "select * from public.audit_logs where organization_slug = %s and table_name = 'organization_secrets'"
        " order by id",
        tenant.slug,
    )


# Who may do what -----------------------------------------------------------------------------------------------------


def test_an_admin_sets_a_secret_and_nobody_gets_it_back(tenant: Tenant) -> None:
    admin, token = tenant.join("admin"), encrypted()
    answer = put(admin, tenant, ciphertext=token, description="For payments")
    assert not {"ciphertext", "vault_id"} & answer.keys()
    assert (answer["name"], answer["version"], answer["created_by"]) == ("STRIPE_KEY", 1, admin.id)
    for session in (admin, tenant.owner, tenant.world.service):
        seen = session.row(
            "select name, description, version, last_used_at from public.organization_secrets"
            " where organization_slug = %s",
            tenant.slug,
        )
        assert tuple(seen.values()) == ("STRIPE_KEY", "For payments", 1, None)
    for session in (admin, tenant.owner, tenant.world.service, tenant.join("developer"), tenant.world.anon):
        for columns in ("ciphertext", "vault_id", "*", "length(ciphertext)"):
            with refused("42501"):
                session.rows(f"select {columns} from public.organization_secrets")
        with refused("42501"):
            session.rows("select id from public.organization_secrets where ciphertext like 'g%%'")
        with refused("42501"):
            session.rows("select id from public.organization_secrets order by ciphertext")


@pytest.mark.parametrize("role", ["viewer", "member", "developer"])
def test_others_of_the_organization_neither_see_nor_change_secrets(tenant: Tenant, role: str) -> None:
    put(tenant.owner, tenant)
    session = tenant.join(role)
    assert session.rows("select id from public.organization_secrets") == []
    with refused("42501", "not_allowed"):
        put(session, tenant)
    with refused("42501", "not_allowed"):
        session.call("delete_organization_secret", organization_slug=tenant.slug, name="STRIPE_KEY")
    assert [row["version"] for row in kept(tenant)] == [1]


def test_nobody_writes_the_table_itself(tenant: Tenant) -> None:
    put(tenant.owner, tenant)
    for session in (tenant.owner, tenant.world.service):
        for statement in (
            "insert into public.organization_secrets (organization_slug, name, ciphertext) values ('x', 'X', 'x')",
            "update public.organization_secrets set description = 'x'",
            "delete from public.organization_secrets",
        ):
            with refused("42501"):
                session.execute(statement)


def test_a_foreign_organization_is_answered_like_one_that_does_not_exist(world: World, tenant: Tenant) -> None:
    put(tenant.owner, tenant)
    stranger = world.tenant().owner
    assert stranger.rows("select id from public.organization_secrets") == []
    told = set()
    for slug in (tenant.slug, "no-such-organization"):
        for function, more in (
            ("set_organization_secret", {"ciphertext": encrypted()}),
            ("delete_organization_secret", {}),
        ):
            with refused("42501", "not_allowed") as refusal:
                stranger.call(function, organization_slug=slug, name="STRIPE_KEY", **more)
            told.add(refusal.detail.replace(slug, "…"))
    assert len(told) == 1
    with refused("PT404", "organization_not_found"):
        world.service.call("set_organization_secret", organization_slug="nowhere", name="A", ciphertext=encrypted())


@pytest.mark.parametrize(
    "name", ["read_organization_secrets", "read_ciphertexts", "replace_ciphertexts", "read_git_credential"]
)
def test_only_workers_read(tenant: Tenant, name: str) -> None:
    arguments: dict[str, Row] = {
        "read_organization_secrets": {"organization_slug": tenant.slug, "names": ["STRIPE_KEY"]},
        "read_ciphertexts": {"source": "organization_secrets", "after": None, "max_rows": 1},
        "replace_ciphertexts": {"source": "organization_secrets", "items": Jsonb([])},
        "read_git_credential": {"repository_id": uuid.uuid4()},
    }
    put(tenant.owner, tenant)
    for session in (tenant.owner, tenant.world.anon):
        with refused("42501"):
            session.call(name, **arguments[name])
        with refused("42501"):
            session.rows(f"select private.{name}({', '.join(['null'] * len(arguments[name]))})")
    tenant.world.service.call(name, **arguments[name])


# What is taken -------------------------------------------------------------------------------------------------------


def test_without_vault_a_value_in_the_clear_is_refused_and_not_repeated(tenant: Tenant) -> None:
    for session in (tenant.owner, tenant.world.service):
        with refused("22023", "vault_missing") as refusal:
            put(session, tenant, value=PLAIN)
        assert PLAIN not in refusal.detail + refusal.hint
        assert "secrets encrypt" in refusal.hint
    assert kept(tenant) == []
    assert audit(tenant) == []


@pytest.mark.parametrize(
    ("arguments", "token"),
    [
        ({"value": None}, "secret_value_missing"),
        ({"value": ""}, "secret_value_missing"),
        ({"value": PLAIN, "ciphertext": encrypted()}, "secret_value_missing"),
        ({"ciphertext": PLAIN}, "token_not_encrypted"),
        ({"ciphertext": ""}, "token_not_encrypted"),
        ({"ciphertext": encrypted()[1:]}, "token_not_encrypted"),
        ({"ciphertext": encrypted() + "\n"}, "token_not_encrypted"),
        ({"ciphertext": encrypted(), "description": " "}, "value_refused"),
        ({"ciphertext": encrypted(), "description": "d" * 501}, "value_refused"),
    ],
    ids=lambda v: v if isinstance(v, str) else " ".join(v),
)
def test_what_cannot_be_kept_is_refused_without_showing_it(tenant: Tenant, arguments: Row, token: str) -> None:
    with refused("22023", token) as refusal:
        put(tenant.owner, tenant, **arguments)
    assert PLAIN not in refusal.detail
    assert "gAAAA" not in refusal.detail
    assert kept(tenant) == []


@pytest.mark.parametrize(
    "name", ["", "a", "stripe_key", "1KEY", "_KEY", "A-KEY", "A KEY", "Ä", "KEY\n", "A" * 64, None]
)
def test_names_are_like_stripe_key(tenant: Tenant, name: str | None) -> None:
    with refused("22023", "value_refused"):
        put(tenant.owner, tenant, name=name)  # type: ignore[arg-type]
    assert put(tenant.owner, tenant, name="A" * 63)["name"] == "A" * 63


def test_a_secret_may_have_64_kib_and_no_more(tenant: Tenant) -> None:
    assert put(tenant.owner, tenant, ciphertext=encrypted("x" * 65_536))["version"] == 1
    for large in ({"ciphertext": encrypted("x" * 65_552)}, {"value": "x" * 65_537}):
        with refused("PT413", "secret_too_large"):
            put(tenant.owner, tenant, **large)


def test_setting_again_is_the_rotation(tenant: Tenant) -> None:
    put(tenant.owner, tenant, ciphertext=encrypted(), description="For payments")
    read(tenant, "STRIPE_KEY")
    token = encrypted("another")
    answer = put(tenant.owner.at("1 hour"), tenant, ciphertext=token)
    (row,) = kept(tenant)
    assert (answer["version"], answer["description"], answer["last_used_at"]) == (2, "For payments", None)
    assert row["rotated_at"] > row["created_at"]
    assert row["ciphertext"] == token
    tenant.owner.call("delete_organization_secret", organization_slug=tenant.slug, name="STRIPE_KEY")
    assert kept(tenant) == []
    with refused("PT404", "secret_not_found"):
        tenant.owner.call("delete_organization_secret", organization_slug=tenant.slug, name="STRIPE_KEY")


def test_an_organization_has_200_secrets_at_most_also_when_several_set_the_last(tenant: Tenant) -> None:
    tenant.world.admin.execute(
        "insert into public.organization_secrets (organization_slug, name, ciphertext)"
        " select %s, 'KEY_' || n, %s from generate_series(1, 199) n",
        tenant.slug,
        encrypted(),
    )
    results = in_parallel([tenant.owner] * 4, lambda s: put(s, tenant, name=f"LAST_{uuid.uuid4().hex[:8].upper()}"))
    assert sum(isinstance(result, dict) for result in results) == 1
    assert {result.diag.message_primary for result in results if not isinstance(result, dict)} == {"over_limit"}
    assert put(tenant.owner, tenant, name="KEY_7")["version"] == 2  # Those that are there can still be rotated.


def test_ten_who_set_a_secret_at_once_leave_one_and_each_counts(tenant: Tenant) -> None:
    results = in_parallel([tenant.owner] * 10, lambda s: put(s, tenant)["version"])
    assert sorted(results) == list(range(1, 11))
    assert [row["version"] for row in kept(tenant)] == [10]


def test_they_go_with_the_organization_and_outlive_who_set_them(tenant: Tenant) -> None:
    admin = tenant.join("admin")
    put(admin, tenant)
    tenant.world.admin.execute("delete from auth.users where id = %s", admin.id)
    assert [row["created_by"] for row in kept(tenant)] == [None]
    tenant.owner.execute("delete from public.organizations where slug = %s", tenant.slug)
    assert kept(tenant) == []


def test_the_audit_log_tells_who_set_and_deleted_what_but_no_values(tenant: Tenant) -> None:
    put(tenant.owner, tenant)
    put(tenant.owner, tenant, ciphertext=encrypted(), description="New")
    read(tenant, "STRIPE_KEY")
    tenant.owner.call("delete_organization_secret", organization_slug=tenant.slug, name="STRIPE_KEY")
    entries = audit(tenant)
    assert [(e["action"], e["row_key"], str(e["actor_user_id"])) for e in entries] == [
        (action, "STRIPE_KEY", tenant.owner.id) for action in ("insert", "update", "delete")
    ]
    assert [e["changes"]["ciphertext"] for e in entries] == [[HIDDEN]] * 3
    assert entries[1]["changes"]["version"] == [1, 2]
    assert "gAAAA" not in str(entries)


# Workers -------------------------------------------------------------------------------------------------------------


def test_a_worker_gets_the_named_secrets_of_one_organization(world: World, tenant: Tenant) -> None:
    other = world.tenant()
    mine, theirs = encrypted("mine"), encrypted("theirs")
    put(tenant.owner, tenant, ciphertext=mine)
    put(tenant.owner, tenant, name="OTHER")
    put(other.owner, other, ciphertext=theirs)
    put(other.owner, other, name="ONLY_THEIRS")
    assert read(tenant, "STRIPE_KEY", "ONLY_THEIRS", "NOTHING", "STRIPE_KEY") == [
        {"name": "STRIPE_KEY", "version": 1, "ciphertext": mine}
    ]
    assert read(tenant) == read(tenant, "') or true --") == []
    assert [row["last_used_at"] is not None for row in kept(tenant)] == [False, True]
    assert [row["last_used_at"] is not None for row in kept(other)] == [False, False]
    with refused("22023", "argument_out_of_range"):
        read(tenant, *(f"KEY_{n}" for n in range(101)))


def test_its_last_use_is_noted_at_most_once_a_minute_and_changes_nothing_else(tenant: Tenant) -> None:
    put(tenant.owner, tenant)
    service, seen = tenant.world.service, []
    for offset in ("1 hour", "1 hour 59 seconds", "1 hour 62 seconds"):
        read(tenant, "STRIPE_KEY", session=service.at(offset))
        seen.append(kept(tenant)[0])
    first, second, third = (row["last_used_at"] for row in seen)
    assert first == second < third
    assert len({(row["updated_at"], row["version"], row["rotated_at"]) for row in seen}) == 1


def test_reading_waits_for_nobody(tenant: Tenant) -> None:
    put(tenant.owner, tenant)
    with tenant.world.admin.fresh() as holder, holder.transaction() as connection:
        connection.execute(
            "select from public.organization_secrets where organization_slug = %s for update", [tenant.slug]
        )
        with tenant.world.service.fresh() as reader:
            reader.connection.execute("set lock_timeout = '500ms'")
            assert len(read(tenant, "STRIPE_KEY", session=reader)) == 1
    assert kept(tenant)[0]["last_used_at"] is None


def repository_of(tenant: Tenant) -> Row:
    row = {"organization_slug": tenant.slug, "name": uuid.uuid4().hex, "git_url": "https://git.example.com/a/b.git"}
    return tenant.owner.insert("agent_repositories", **row)


def test_a_worker_gets_a_git_credential(tenant: Tenant) -> None:
    repository, token, service = repository_of(tenant), encrypted(), tenant.world.service
    assert service.call("read_git_credential", repository_id=repository["id"]) is None
    tenant.owner.call(
        "set_git_credential", repository_id=repository["id"], encrypted_token=token, username="bot", provider="github"
    )
    noted = []
    for offset in ("0", "30 seconds", "2 minutes"):
        answer = service.at(offset).call("read_git_credential", repository_id=repository["id"])
        given = {"provider": "github", "username": "bot", "encrypted_token": token, "expires_at": None}
        assert answer == {**given, "git_url": repository["git_url"]}
        noted.append(tenant.owner.value("select last_used_at from public.git_credentials"))
    assert noted[0] is not None
    assert noted[0] == noted[1] < noted[2]


# A new key -----------------------------------------------------------------------------------------------------------


def replace(session: Session, source: str, *items: Row) -> list[str]:
    answer: list[str] = session.call("replace_ciphertexts", source=source, items=Jsonb(list(items)))
    return answer


def test_ciphertexts_are_read_in_batches_that_end(tenant: Tenant) -> None:
    for number in range(7):
        put(tenant.owner, tenant, name=f"KEY_{number}")
    service, after, found = tenant.world.service, None, []
    while rows := service.call("read_ciphertexts", source="organization_secrets", after=after, max_rows=3):
        assert len(rows) <= 3
        after = rows[-1]["id"]
        found += rows
    assert found == sorted(found, key=lambda row: row["id"])
    assert {(str(row["id"]), row["ciphertext"]) for row in kept(tenant)} <= {(r["id"], r["ciphertext"]) for r in found}
    assert service.call("read_ciphertexts", source="agents") == []
    for bad in (0, 101, None):
        with refused("22023", "argument_out_of_range"):
            service.call("read_ciphertexts", source="organization_secrets", max_rows=bad)


def test_a_ciphertext_is_replaced_only_if_it_is_still_the_one_that_was_read(tenant: Tenant) -> None:
    old, new, newer = encrypted(), encrypted(), encrypted("newer")
    put(tenant.owner, tenant, ciphertext=old)
    (row,) = kept(tenant)
    item = {"id": str(row["id"]), "old": old, "new": new}
    put(tenant.owner, tenant, ciphertext=newer)
    assert replace(tenant.world.service, "organization_secrets", item) == []
    assert replace(tenant.world.service, "git_credentials", item | {"old": newer}) == []
    assert kept(tenant)[0]["ciphertext"] == newer
    assert replace(tenant.world.service, "organization_secrets", item | {"old": newer}) == [item["id"]]
    (after,) = kept(tenant)
    assert (after["ciphertext"], after["version"], after["rotated_at"] >= row["rotated_at"]) == (new, 2, True)
    entry = audit(tenant)[-1]
    assert (entry["action"], entry["actor_role"], entry["changes"]) == (
        "update",
        "service_role",
        {"ciphertext": [HIDDEN]},
    )
    for bad in ("plain", None):
        with refused("22023", "value_refused") as refusal:
            replace(tenant.world.service, "organization_secrets", {"id": item["id"], "old": new, "new": bad})
        assert "plain" not in refusal.detail
    for items in (Jsonb({}), Jsonb([item] * 101)):
        with refused("22023", "items_not_a_list"):
            tenant.world.service.call("replace_ciphertexts", source="organization_secrets", items=items)


def test_a_git_credential_comes_under_the_new_key_too(tenant: Tenant) -> None:
    repository, old, new = repository_of(tenant), encrypted(), encrypted()
    tenant.owner.call("set_git_credential", repository_id=repository["id"], encrypted_token=old)
    identity = str(tenant.owner.value("select id from public.git_credentials"))
    rows = tenant.world.service.call("read_ciphertexts", source="git_credentials", max_rows=100)
    assert {"id": identity, "ciphertext": old} in rows
    assert replace(tenant.world.service, "git_credentials", {"id": identity, "old": old, "new": new}) == [identity]
    answer = tenant.world.service.call("read_git_credential", repository_id=repository["id"])
    assert answer["encrypted_token"] == new


def test_what_somebody_is_writing_is_left_to_them(tenant: Tenant) -> None:
    old = encrypted()
    for name in ("HELD", "FREE"):
        put(tenant.owner, tenant, name=name, ciphertext=old)
    free, held = kept(tenant)
    items = [{"id": str(row["id"]), "old": old, "new": encrypted()} for row in (free, held)]
    with tenant.owner.fresh() as writer, writer.transaction():
        answer = put(writer, tenant, name="HELD", ciphertext=encrypted("newest"))
        with tenant.world.service.fresh() as service:
            service.connection.execute("set lock_timeout = '500ms'")
            assert replace(service, "organization_secrets", *items) == [str(free["id"])]
    assert answer["version"] == 2
    assert replace(tenant.world.service, "organization_secrets", *items) == []


def test_a_set_is_never_lost_to_a_rotation_at_the_same_moment(tenant: Tenant) -> None:
    old = encrypted("old")
    put(tenant.owner, tenant, ciphertext=old)
    item = {"id": str(kept(tenant)[0]["id"]), "old": old, "new": encrypted("old")}

    def act(session: Session) -> Any:
        if session.role == "service_role":
            return replace(session, "organization_secrets", item)
        return put(session, tenant, ciphertext=encrypted("new"))["version"]

    results = in_parallel([tenant.world.service, tenant.owner] * 4, act)
    assert sorted(result for result in results if isinstance(result, int)) == [2, 3, 4, 5]
    assert FERNET.decrypt(kept(tenant)[0]["ciphertext"]).decode() == "new"


# Supabase Vault, by a stand-in (vault.py) ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vault_dsn(stack: Stack) -> Iterator[str]:
    """Give the address of a database with Vault's objects and every migration."""
    with scratch_database(instance_of(stack), "vault", more=VAULT) as address:
        with connect(address) as connection:
            for file in FILES:
                apply(connection, file)
        yield address


@pytest.fixture
def vaulted(vault_dsn: str) -> Iterator[Tenant]:
    with connect(vault_dsn) as connection:
        world = World(vault_dsn, connection)
        yield world.tenant()
        world.close()
        assert world.admin.rows("select * from vault.secrets") == []


def in_vault(tenant: Tenant) -> list[str]:
    rows = tenant.world.admin.rows("select decrypted_secret as value from vault.decrypted_secrets order by 1")
    return [row["value"] for row in rows]


def test_where_vault_is_a_value_goes_there_and_comes_out_to_workers(vaulted: Tenant) -> None:
    answer = put(vaulted.owner, vaulted, value=PLAIN, description="Mine")
    assert not {"ciphertext", "vault_id", "value"} & answer.keys()
    assert in_vault(vaulted) == [PLAIN]
    (row,) = kept(vaulted)
    assert PLAIN not in str(row) + str(audit(vaulted))
    assert read(vaulted, "STRIPE_KEY") == [{"name": "STRIPE_KEY", "version": 1, "value": PLAIN}]
    assert put(vaulted.owner, vaulted, value="rotated")["version"] == 2
    assert in_vault(vaulted) == ["rotated"]
    assert kept(vaulted)[0]["vault_id"] == row["vault_id"]
    assert vaulted.world.service.call("read_ciphertexts", source="organization_secrets") == []
    for session in (vaulted.owner, vaulted.world.anon):
        with refused("42501"):
            session.rows("select * from vault.decrypted_secrets")


def test_a_secret_moves_between_vault_and_ciphertext_and_leaves_nothing_behind(vaulted: Tenant) -> None:
    put(vaulted.owner, vaulted, value=PLAIN)
    token = encrypted()
    assert put(vaulted.owner, vaulted, ciphertext=token)["version"] == 2
    assert in_vault(vaulted) == []
    assert read(vaulted, "STRIPE_KEY") == [{"name": "STRIPE_KEY", "version": 2, "ciphertext": token}]
    put(vaulted.owner, vaulted, value="back")
    assert in_vault(vaulted) == ["back"]
    vaulted.owner.call("delete_organization_secret", organization_slug=vaulted.slug, name="STRIPE_KEY")
    assert in_vault(vaulted) == []
    put(vaulted.owner, vaulted, value="until the organization goes")


def test_many_at_once_leave_one_value_in_vault(vaulted: Tenant) -> None:
    results = in_parallel([vaulted.owner] * 6, lambda s: put(s, vaulted, value=PLAIN)["version"])
    assert sorted(results) == [1, 2, 3, 4, 5, 6]
    assert in_vault(vaulted) == [PLAIN]


def test_what_vault_has_lost_is_told_as_having_no_value(vaulted: Tenant) -> None:
    put(vaulted.owner, vaulted, value=PLAIN)
    vaulted.world.admin.execute("delete from vault.secrets")
    assert read(vaulted, "STRIPE_KEY") == [{"name": "STRIPE_KEY", "version": 1}]


def test_an_error_of_vault_does_not_show_the_value(vaulted: Tenant) -> None:
    for _ in range(2):
        with refused("PT503", "vault_failed") as refusal:
            put(vaulted.owner, vaulted, value="unacceptable " + PLAIN)
        assert PLAIN not in refusal.detail + refusal.hint
        assert in_vault(vaulted) == [row["name"] for row in kept(vaulted)] == []
