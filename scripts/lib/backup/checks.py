"""Proving that a backup is one: it is restored to a scratch server, compared and looked through."""

from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql

from backup import server, timelines
from backup.errors import BackupError
from backup.server import Server, Tools
from backup.source import require_version
from backup.store import Backup, Store, Sums

_DATABASES = "select datname from pg_database where datallowconn and not datistemplate order by 1"
_TABLES = """
select n.nspname, c.relname
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
where c.relkind in ('r', 'm') and c.relpersistence = 'p' and c.relispopulated
  and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_toast'
order by 1, 2
"""
# The order of rows does not matter to the sum; how a value is written does, so the session says that.
_SUM = "select count(*)::text, coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text from only {} as t"
_WRITING = "set timezone to 'UTC'; set datestyle to 'ISO'; set intervalstyle to 'postgres'; set bytea_output to 'hex'"


def verify(store: Store, backup: Backup, tools: Tools, below: Path | None = None) -> Backup:
    """The backup with the time of this check and the sums of its tables; what was restored is deleted again.

    Every file is compared with the server's own manifest (pg_verifybackup); every table is read at the very end of the
    backup and compared with what the first check saw; then all archived WAL is replayed and the result looked
    through (pg_amcheck). A backup that is not the newest may have lost the WAL after it to `--prune`: it is then
    checked by itself. Raises BackupError for whatever does not hold.
    """
    require_version(backup.server_version, tools.binaries)
    wal = timelines.following(store, backup)
    if wal.missing and (wal.segments or store.backups()[-1:] in ([], [backup])):
        raise BackupError(
            f"the WAL segment {wal.missing} is missing from the archive",
            f"times after it cannot be restored from {backup.name}: make a full backup now",
        )
    recovery = server.recovery_settings(store, wal, tools) | {"fsync": "off", "synchronous_commit": "off"}
    paused = {"recovery_target": "immediate", "recovery_target_action": "pause", "hot_standby": "on"}
    with server.scratch(tools, below) as folder:
        data = folder / "data"
        data.mkdir()
        server.unpack(store, backup, data, tools)
        tools.run("pg_verifybackup", "--quiet", data)
        server.begin_recovery(data, tools)
        with Server(data, tools, backup, recovery | paused, store.keyring.text).running(folder) as running:
            running.wait_until("select pg_get_wal_replay_pause_state() = 'paused'")
            found = sums(running)
        _compare(backup, found)
        with Server(data, tools, backup, recovery, store.keyring.text).running(folder) as running:
            running.wait_until("select not pg_is_in_recovery()")
            _look_through(running, tools)
    return backup.verified(datetime.now(UTC), found)


def sums(running: Server) -> Sums:
    """Number and checksum of the rows of every table of every database."""
    with running.connect("template1") as connection:
        databases = [str(name) for (name,) in connection.execute(_DATABASES)]
    found: Sums = {}
    for database in databases:
        with running.connect(database) as connection:
            connection.execute(_WRITING)
            tables = connection.execute(_TABLES).fetchall()
            found[database] = {f"{schema}.{table}": _sum(connection, schema, table) for schema, table in tables}
    return found


def _sum(connection: psycopg.Connection, schema: str, table: str) -> list[str]:
    try:
        row = connection.execute(sql.SQL(_SUM).format(sql.Identifier(schema, table))).fetchone()
    except psycopg.Error as error:
        raise BackupError(f"the restored table {schema}.{table} cannot be read: {error}", "back up anew") from error
    assert row
    return list(row)


def _compare(backup: Backup, found: Sums) -> None:
    if backup.verified_at is None or backup.tables == found:
        return
    changed = [
        f"{database}: {table}"
        for database in {**backup.tables, **found}
        for table in {**backup.tables.get(database, {}), **found.get(database, {})}
        if backup.tables.get(database, {}).get(table) != found.get(database, {}).get(table)
    ]
    raise BackupError(
        f"{backup.name} does not restore to what it was on {backup.verified_at:%F}: {', '.join(changed)[:500]}",
        "do not rely on it: make a full backup now, and look after the disk",
    )


def _look_through(running: Server, tools: Tools) -> None:
    tools.run("pg_amcheck", "--all", "--install-missing", "--no-password", environment=running.environment)
