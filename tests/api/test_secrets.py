"""Secrets as a frontend meets them: through PostgREST, with a user's own token."""

from __future__ import annotations

from collections.abc import Callable

from cryptography.fernet import Fernet

from tests.api.helpers import INTERNALS, Caller, Tenant, assert_refused, ok, unique

TOKEN = Fernet(Fernet.generate_key()).encrypt(b"sk-live").decode()
PLAIN = "sk-in-the-clear-0123456789"
LISTED = "name,description,version,rotated_at,last_used_at"


def test_an_admin_sets_lists_rotates_and_deletes(tenant: Tenant, operator: Caller) -> None:
    named = {"organization_slug": tenant.organization, "name": "STRIPE_KEY"}
    answer = ok(tenant.owner.rpc("set_organization_secret", **named, ciphertext=TOKEN, description="Payments"))
    assert (answer["version"], answer["created_by"]) == (1, tenant.owner.id)
    assert "gAAAA" not in str(answer)
    assert ok(tenant.owner.rpc("set_organization_secret", **named, ciphertext=TOKEN))["version"] == 2
    (row,) = tenant.owner.rows("organization_secrets", select=LISTED)
    assert (row["name"], row["description"], row["version"], row["last_used_at"]) == ("STRIPE_KEY", "Payments", 2, None)
    given = {"organization_slug": tenant.organization, "names": ["STRIPE_KEY", "NONE"]}
    assert ok(operator.rpc("read_organization_secrets", **given)) == [
        {"name": "STRIPE_KEY", "version": 2, "ciphertext": TOKEN}
    ]
    assert tenant.owner.rows("organization_secrets", select="last_used_at")[0]["last_used_at"]
    entries = tenant.owner.rows("audit_logs", table_name="eq.organization_secrets")
    assert len(entries) == 2
    assert "gAAAA" not in str(entries)
    assert tenant.owner.rpc("delete_organization_secret", **named).is_success
    assert tenant.owner.rows("organization_secrets", select=LISTED) == []
    assert_refused(tenant.owner.rpc("delete_organization_secret", **named), 404, "PT404", "secret_not_found")


def test_no_query_gets_a_ciphertext_out(tenant: Tenant, operator: Caller) -> None:
    named = {"organization_slug": tenant.organization, "name": "STRIPE_KEY"}
    ok(tenant.owner.rpc("set_organization_secret", **named, ciphertext=TOKEN))
    for caller in (tenant.owner, operator):
        for query in (
            {"select": "*"},
            {"select": "ciphertext"},
            {"select": "name", "ciphertext": "like.g*"},
            {"select": "name", "order": "ciphertext"},
            {"select": "vault_id"},
        ):
            refused = caller.get("organization_secrets", **query)
            assert refused.status_code == 403, refused.text
            assert "gAAAA" not in refused.text
        embedded = caller.get("organizations", select="slug,organization_secrets(ciphertext)")
        assert embedded.status_code == 403
        for changed in (
            caller.update("organization_secrets", {"description": "x"}, name="eq.STRIPE_KEY"),
            caller.insert("organization_secrets", {**named, "ciphertext": TOKEN}),
        ):
            assert changed.status_code == 403
    for function, arguments in (
        ("read_organization_secrets", {"organization_slug": tenant.organization, "names": ["STRIPE_KEY"]}),
        ("read_ciphertexts", {"source": "organization_secrets"}),
        ("replace_ciphertexts", {"source": "organization_secrets", "items": []}),
    ):
        assert tenant.owner.rpc(function, **arguments).status_code == 403


def test_a_value_in_the_clear_is_refused_without_vault_and_not_repeated(tenant: Tenant) -> None:
    named = {"organization_slug": tenant.organization, "name": "STRIPE_KEY"}
    for arguments, status, code, token in (
        ({"value": PLAIN}, 400, "22023", "vault_missing"),
        ({"ciphertext": PLAIN}, 400, "22023", "token_not_encrypted"),
        ({"value": PLAIN, "ciphertext": TOKEN}, 400, "22023", "secret_value_missing"),
        ({"value": PLAIN, "description": " "}, 400, "22023", "vault_missing"),
        ({"value": "x" * 70_000}, 413, "PT413", "secret_too_large"),
        ({"ciphertext": TOKEN, "description": " "}, 400, "22023", "value_refused"),
    ):
        answer = tenant.owner.rpc("set_organization_secret", **named, **arguments)
        assert_refused(answer, status, code, token)
        assert not [text for text in (PLAIN, "gAAAA", *INTERNALS) if text in answer.text]
    assert tenant.owner.rows("organization_secrets", select=LISTED) == []


def test_strangers_and_developers_learn_nothing(
    tenant: Tenant, stranger: Tenant, operator: Caller, new_user: Callable[[], Caller]
) -> None:
    named = {"organization_slug": tenant.organization, "name": "STRIPE_KEY"}
    ok(tenant.owner.rpc("set_organization_secret", **named, ciphertext=TOKEN))
    developer = new_user()
    member = {"organization_slug": tenant.organization, "user_id": developer.id, "role": "developer"}
    ok(operator.insert("organization_members", member))
    for caller in (developer, stranger.owner):
        assert caller.rows("organization_secrets", select=LISTED) == []
        for slug in (tenant.organization, unique("none")):
            there = {**named, "organization_slug": slug}
            answer = caller.rpc("set_organization_secret", **there, ciphertext=TOKEN)
            assert_refused(answer, 403, "42501", "not_allowed")
            assert_refused(caller.rpc("delete_organization_secret", **there), 403, "42501", "not_allowed")
