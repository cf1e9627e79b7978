"""Migrations and seeds, always applied by the Supabase CLI; only reading what is applied is done here."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psycopg

from localstack.errors import StackError
from localstack.instance import Instance
from localstack.paths import ROOT, SUPABASE_CLI


@dataclass(frozen=True)
class Migration:
    """One migration file, or a version the database has without a file (name is then empty)."""

    version: str
    name: str
    applied: bool


def reset(instance: Instance, workdir: Path = ROOT) -> None:
    """Wipes the database, applies all migrations and the seeds, and tells PostgREST."""
    (instance.home / "migrated").unlink(missing_ok=True)
    run_cli("db", "reset", remote(instance), "--yes", workdir=workdir)
    (instance.home / "migrated").touch()
    reload_rest(instance)


def push(instance: Instance, workdir: Path = ROOT) -> None:
    """Applies the pending migrations and tells PostgREST."""
    run_cli("db", "push", remote(instance), "--yes", "--include-all", workdir=workdir)
    reload_rest(instance)


def is_fresh(instance: Instance) -> bool:
    """Whether migrations and seeds have never been applied to the end."""
    return not (instance.home / "migrated").exists()


def listing(instance: Instance, workdir: Path = ROOT) -> list[Migration]:
    """Every migration by version, applied or pending."""
    files = {path.name.partition("_")[0]: path.stem for path in (workdir / "supabase" / "migrations").glob("*_*.sql")}
    with psycopg.connect(instance.database_url()) as connection:
        found = connection.execute("select to_regclass('supabase_migrations.schema_migrations')").fetchone()
        query = "select version from supabase_migrations.schema_migrations"
        rows = connection.execute(query).fetchall() if found != (None,) else []
    applied = {str(version) for (version,) in rows}
    versions = sorted(files.keys() | applied)
    return [Migration(version, files.get(version, ""), version in applied) for version in versions]


def remote(instance: Instance) -> str:
    """The CLI's argument for this database. It listens on 127.0.0.1 only, so no TLS is tried."""
    return f"--remote={instance.database_url()}?sslmode=disable"


def reload_rest(instance: Instance) -> None:
    """Makes PostgREST read the schema again."""
    with psycopg.connect(instance.database_url(), autocommit=True) as connection:
        connection.execute("notify pgrst, 'reload schema'")


def run_cli(*arguments: str, workdir: Path = ROOT) -> str:
    """Runs the Supabase CLI and returns what it printed; raises StackError with its output when it fails."""
    environment = os.environ | {"SUPABASE_TELEMETRY_DISABLED": "1", "DO_NOT_TRACK": "1"}
    done = subprocess.run(
        [SUPABASE_CLI, *arguments, f"--workdir={workdir}"],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=environment,
    )
    if done.returncode != 0:
        raise StackError(f"supabase {' '.join(arguments[:2])} failed", f"{done.stdout}{done.stderr}".strip())
    return done.stdout
