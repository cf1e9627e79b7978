"""A database of a test's own beside the stack's: empty, with what Supabase gives before the first migration."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from localstack import instance
from localstack.instance import Instance
from localstack.paths import LIB, ROOT, STATE
from tests.database.kit import Connection, connect
from tests.stack import Stack

FILES = sorted((ROOT / "supabase" / "migrations").glob("*.sql"))
# What Auth makes; bootstrap.sql leaves its tables to it.
AUTH = """
create table auth.users (
  id uuid primary key, email text, email_confirmed_at timestamptz, last_sign_in_at timestamptz, raw_user_meta_data jsonb
);
grant all on auth.users to postgres;
"""


def instance_of(stack: Stack) -> Instance:
    """Give the instance that the tests run on: the one with this database's port."""
    port = urlsplit(stack.database_url).port
    found = [instance.load(path.parent.name) for path in STATE.glob("*/instance.json")]
    (one,) = [candidate for candidate in found if candidate and candidate.ports.database == port]
    return one


@contextmanager
def scratch_database(here: Instance, prefix: str, *, more: str = "") -> Iterator[str]:
    """Give the address, as postgres, of a new database; `more` is SQL that the superuser runs in it first."""
    name = f"{prefix}_{os.getpid()}"

    def address(user: str) -> str:
        return f"{here.database_url(user).rpartition('/')[0]}/{name}"

    with connect(here.database_url("supabase_admin")) as admin:
        admin.execute(sql.SQL("create database {} owner postgres").format(sql.Identifier(name)))
        try:
            with psycopg.connect(address("supabase_admin"), autocommit=True) as inside:
                text = (LIB / "bootstrap.sql").read_text().replace("database postgres", f"database {name}")
                inside.execute(text.encode())
                inside.execute(AUTH)
                inside.execute(more.encode())
            yield address("postgres")
        finally:
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def apply(connection: Connection, file: Path) -> None:
    """Apply one migration, in one transaction as the Supabase CLI does."""
    with connection.transaction():
        connection.execute(file.read_text().encode())
