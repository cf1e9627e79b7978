"""Migrations and seeds, always applied by the Supabase CLI; only reading what is applied is done here."""

import json
import os
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from localstack import postgres
from localstack.errors import StackError
from localstack.instance import Instance
from localstack.paths import ROOT, SUPABASE_CLI

_RELOAD_SECONDS = 15.0
# What service_role may use, as PostgREST names it.
_SERVED = """
  select '/' || c.relname from pg_class c
  where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v')
    and has_table_privilege('service_role', c.oid, 'select')
  union all
  select '/rpc/' || p.proname from pg_proc p
  where p.pronamespace = 'public'::regnamespace and p.prorettype <> 'trigger'::regtype
    and has_function_privilege('service_role', p.oid, 'execute')
"""


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
    history = "supabase_migrations.schema_migrations"
    exists = postgres.query(instance, f"select to_regclass('{history}')") != [""]
    applied = set(postgres.query(instance, f"select version from {history}")) if exists else set()  # noqa: S608
    versions = sorted(files.keys() | applied)
    return [Migration(version, files.get(version, ""), version in applied) for version in versions]


def remote(instance: Instance) -> str:
    """The CLI's argument for this database. It listens on 127.0.0.1 only, so no TLS is tried."""
    return f"--remote={instance.database_url()}?sslmode=disable"


def reload_rest(instance: Instance) -> None:
    """Makes PostgREST read the schema again, and waits until it serves every table and function of public."""
    postgres.query(instance, "notify pgrst, 'reload schema'")
    wanted = set(postgres.query(instance, _SERVED))
    give_up = time.monotonic() + _RELOAD_SECONDS
    while not wanted <= _served(instance):
        if time.monotonic() > give_up:
            raise StackError("PostgREST did not read the new schema", f"see {instance.logs / 'postgrest.log'}")
        time.sleep(0.05)


def _served(instance: Instance) -> set[str]:
    """The paths of PostgREST's own description of its API, as service_role sees it."""
    headers = {"Authorization": f"Bearer {instance.keys.service_role_key}"}
    request = urllib.request.Request(f"http://127.0.0.1:{instance.ports.rest}/", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return set(json.load(answer)["paths"])
    except OSError:
        return set()  # not up, or reading the schema just now


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
        close_fds=False,
    )
    if done.returncode != 0:
        raise StackError(f"supabase {' '.join(arguments[:2])} failed", f"{done.stdout}{done.stderr}".strip())
    return done.stdout
