"""The database before the first migration is as hosted Supabase gives it."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import scalar_row


@pytest.fixture
def database(keys: dict[str, str]) -> Iterator[psycopg.Connection]:
    """As postgres, in a transaction that is rolled back."""
    with psycopg.connect(keys["DATABASE_URL"]) as connection:
        yield connection
        connection.rollback()


def test_the_roles_are_those_of_hosted_supabase(database: psycopg.Connection) -> None:
    query = "select rolname, rolcanlogin, rolsuper, rolinherit, rolbypassrls, rolcreaterole from pg_roles"
    roles = {name: flags for name, *flags in database.execute(query) if not name.startswith("pg_")}
    assert roles == {
        "supabase_admin": [True, True, True, True, True],
        "postgres": [True, False, True, True, True],
        "supabase_auth_admin": [True, False, False, False, True],
        "authenticator": [True, False, False, False, False],
        "anon": [False, False, False, False, False],
        "authenticated": [False, False, False, False, False],
        "service_role": [False, False, False, True, False],
    }


def test_long_statements_of_api_roles_are_cut_off(database: psycopg.Connection) -> None:
    query = "select rolname, array_to_string(rolconfig, ' ') from pg_roles where rolname = any (%s)"
    rows = database.execute(query, [["anon", "authenticated", "authenticator"]]).fetchall()
    settings: dict[str, str] = dict(rows)
    assert settings["anon"] == "statement_timeout=3s"
    assert settings["authenticated"] == "statement_timeout=8s"
    assert "statement_timeout=8s" in settings["authenticator"]


def test_nothing_new_in_public_is_granted(database: psycopg.Connection) -> None:
    database.execute("create table public.plain (id int)")
    for role in ("anon", "authenticated", "service_role"):
        query = "select has_table_privilege(%s, 'public.plain', 'select, insert, update, delete')"
        assert database.execute(query, [role]).fetchone() == (False,)


@pytest.mark.parametrize("extension", ["vector", "pg_trgm", "citext"])
def test_postgres_may_create_and_drop_an_extension(database: psycopg.Connection, extension: str) -> None:
    name = sql.Identifier(extension)
    database.execute(sql.SQL("drop extension if exists {}").format(name))
    database.execute(sql.SQL("create extension {} with schema extensions").format(name))
    database.execute(sql.SQL("drop extension {}").format(name))


def test_postgres_may_publish_to_realtime(database: psycopg.Connection) -> None:
    database.execute("alter publication supabase_realtime add table public.notes")


@pytest.mark.parametrize("style", ["claims", "single"])
def test_the_auth_helpers_read_both_styles_of_claims(database: psycopg.Connection, style: str) -> None:
    user = "5e0f5b4e-3c3a-4f0e-9d2a-111111111111"
    if style == "claims":
        claims = f'{{"sub": "{user}", "role": "authenticated", "email": "a@example.com"}}'
        database.execute("select set_config('request.jwt.claims', %s, true)", [claims])
    else:
        for name, value in (("sub", user), ("role", "authenticated"), ("email", "a@example.com")):
            database.execute("select set_config(%s, %s, true)", [f"request.jwt.claim.{name}", value])
    database.execute("set local role authenticated")
    row = database.execute("select auth.uid()::text, auth.role(), auth.email()").fetchone()
    assert row == (user, "authenticated", "a@example.com")


def test_without_a_token_the_helpers_are_null(database: psycopg.Connection) -> None:
    row = database.execute("select auth.uid(), auth.role(), auth.email(), auth.jwt()").fetchone()
    assert row == (None, None, None, None)


def test_every_schema_has_the_owner_that_reset_expects(database: psycopg.Connection) -> None:
    query = "select nspowner::regrole::text from pg_namespace where nspname = any (%s) order by nspname"
    cursor = database.cursor(row_factory=scalar_row)
    assert cursor.execute(query, [["auth", "extensions", "public"]]).fetchall() == [
        "supabase_admin",
        "postgres",
        "postgres",
    ]
