"""The server that is backed up: how to reach it, what it says of itself, a base backup of it, and its archiver."""

import json
import os
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import psycopg
from psycopg.conninfo import conninfo_to_dict

from backup import sealed
from backup.errors import BackupError
from backup.sealed import Sealer
from backup.store import Backup, Store
from backup.timelines import parse_lsn

_RETRIES_SECONDS = 5.0  # the server tries three times, a second apart, before it waits for a minute
_MANIFEST = "backup_manifest"
_FACTS = """
select
  (select system_identifier::text from pg_control_system()),
  current_setting('server_version_num')::int,
  (select rolname from pg_roles where oid = 10),
  pg_size_bytes(current_setting('wal_segment_size')),
  current_setting('archive_mode') <> 'off',
  pg_is_in_recovery(),
  (select count(*)::int from pg_tablespace where spcname not in ('pg_default', 'pg_global'))
"""
_LIBPQ = {
    "host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD",
    "dbname": "PGDATABASE", "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "passfile": "PGPASSFILE",
    "service": "PGSERVICE", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY", "channel_binding": "PGCHANNELBINDING",
}  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """What a server says of itself."""

    system: str
    version: int
    superuser: str
    segment_bytes: int
    archiving: bool
    in_recovery: bool
    tablespaces: int


class Source:
    """A running server, by its address: a URL or key=value pairs."""

    def __init__(self, address: str) -> None:
        try:
            self._address = conninfo_to_dict(address)
        except psycopg.ProgrammingError as error:
            raise BackupError(f"the database's address cannot be read: {error}", "see BACKUP_DATABASE_URL") from None

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection]:
        """A connection in autocommit; its errors become BackupErrors."""
        try:
            with psycopg.connect(**self._address, autocommit=True, application_name="backup") as connection:  # type: ignore[arg-type]
                yield connection
        except psycopg.Error as error:
            raise BackupError(f"the server: {str(error).strip()}", _hint(error)) from error

    def facts(self) -> Facts:
        """What the server says of itself."""
        with self.connected() as connection:
            row = connection.execute(_FACTS).fetchone()
        assert row
        return Facts(*row)

    def base_backup(self, store: Store, facts: Facts, binaries: Path) -> Backup:
        """Streams a base backup, with the WAL it needs, into a sealed tar file; the manifest is not saved yet.

        Raises BackupError, and leaves no file, when that fails.
        """
        _require_usable(facts, binaries)
        store.make()
        with self.connected() as connection:
            began = server_time(connection)
            name = began.strftime("%Y%m%dT%H%M%SZ")
            path = store.archive_of(name)
            if path.exists():
                raise BackupError(f"{path} exists already", "wait a second")
            # For as long as this session lives, the server keeps the WAL from here on.
            connection.execute("select pg_create_physical_replication_slot(%s, true, true)", [f"backup_{os.getpid()}"])
            with sealed.published(path, store.keyring, store.sealed_name(path)) as sealer:
                manifest = self._stream(sealer, binaries)
            (ranges,) = manifest["WAL-Ranges"]
            return Backup(
                name=name,
                system=facts.system,
                server_version=facts.version,
                started_at=began,
                ended_at=server_time(connection),
                timeline=int(ranges["Timeline"]),
                start_lsn=parse_lsn(ranges["Start-LSN"]),
                end_lsn=parse_lsn(ranges["End-LSN"]),
                segment_bytes=facts.segment_bytes,
                superuser=facts.superuser,
                archiving=facts.archiving,
                size_bytes=path.stat().st_size,
            )

    def archive_now(self, store: Store, patience: float) -> str:
        """Ends the current WAL segment and returns its name once it is in the archive.

        A transaction goes before it, so that the archive reaches to this moment even when nobody writes.
        """
        with self.connected() as connection:
            connection.execute("select pg_current_xact_id()")
            row = connection.execute("select pg_walfile_name(pg_switch_wal())").fetchone()
            assert row
            name, began = str(row[0]), time.monotonic()
            while name not in store.segments():
                waited, trouble = time.monotonic() - began, _trouble(connection)
                if waited > patience or (trouble and waited > _RETRIES_SECONDS):
                    raise BackupError(f"{name} is not archived after {waited:.0f} s", trouble or _busy(connection))
                time.sleep(0.05)
        return name

    def environment(self) -> dict[str, str]:
        """The address for programs of Postgres, so that no password stands in a command line."""
        known = {_LIBPQ[name]: str(value) for name, value in self._address.items() if name in _LIBPQ and value}
        return {**os.environ, **known}

    def _stream(self, sealer: Sealer, binaries: Path) -> Mapping[str, list[dict[str, str]]]:
        command = [
            str(binaries / "pg_basebackup"),
            "--pgdata=-",
            "--format=tar",
            "--wal-method=fetch",
            "--checkpoint=fast",
        ]
        manifest, broken = None, False
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=self.environment()
            ) as process,
        ):
            assert process.stdout
            try:
                manifest = _sealed_tar(process.stdout, sealer)
            except tarfile.TarError:
                broken = True
            except BaseException:
                process.kill()
                raise
            process.stdout.close()
            code = process.wait()
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip()
        if code != 0 or broken or manifest is None:
            raise BackupError("pg_basebackup failed", said)
        found: Mapping[str, list[dict[str, str]]] = json.loads(manifest)
        return found


def server_time(connection: psycopg.Connection) -> datetime:
    """The server's clock, in UTC."""
    row = connection.execute("select clock_timestamp()").fetchone()
    assert row
    now: datetime = row[0]
    return now.astimezone(UTC)


def major_version(binaries: Path) -> int:
    """Of the programs in a folder; raises BackupError when they are not there."""
    try:
        done = subprocess.run([binaries / "postgres", "--version"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        hint = "name the folder of postgres, pg_basebackup and the others: --bin DIR or BACKUP_PG_BIN"
        raise BackupError(f"{binaries} has no postgres that runs: {error}", hint) from error
    return int(done.stdout.split()[2].split(".")[0])


def require_version(server_version: int, binaries: Path) -> None:
    """Raises BackupError when the programs cannot run this server's files."""
    ours = major_version(binaries)
    if server_version // 10_000 != ours:
        raise BackupError(
            f"the server is Postgres {server_version // 10_000}, the programs in {binaries} are {ours}",
            "name the folder of the server's own programs: --bin DIR or BACKUP_PG_BIN",
        )


def _require_usable(facts: Facts, binaries: Path) -> None:
    require_version(facts.version, binaries)
    if facts.in_recovery:
        raise BackupError("the server is a standby", "back up the primary")
    if facts.tablespaces:
        raise BackupError("the server has tablespaces of its own, which are not supported", "use pgBackRest for it")


class _Tee:
    """Reads from a pipe and seals what passes."""

    def __init__(self, pipe: IO[bytes], sealer: Sealer) -> None:
        self._pipe, self._sealer = pipe, sealer

    def read(self, size: int = -1) -> bytes:
        data = self._pipe.read(size)
        self._sealer.write(data)
        return data


def _sealed_tar(pipe: IO[bytes], sealer: Sealer) -> bytes | None:
    tee, manifest = _Tee(pipe, sealer), None
    with tarfile.open(fileobj=tee, mode="r|") as tar:  # type: ignore[call-overload]
        for member in tar:
            if member.name == _MANIFEST and (file := tar.extractfile(member)):
                manifest = file.read()
    while tee.read(1 << 20):
        pass
    return manifest


def _trouble(connection: psycopg.Connection) -> str:
    """What the archiver last failed with, if nothing went well since."""
    row = connection.execute(
        "select last_failed_wal, last_failed_time, current_setting('archive_command') from pg_stat_archiver "
        "where last_failed_time > coalesce(last_archived_time, '-infinity')"
    ).fetchone()
    return (
        f"archive_command fails with {row[0]}, last at {row[1]}; the server's log says why. It is: {row[2]}"
        if row
        else ""
    )


def _busy(connection: psycopg.Connection) -> str:
    row = connection.execute("select current_setting('archive_command')").fetchone()
    assert row
    return f"archive_command has not failed: is it busy still, or does it archive elsewhere? It is: {row[0]}"


def _hint(error: psycopg.Error) -> str:
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return "use a superuser, or a role with replication that may execute pg_switch_wal() (see docs/backup.md)"
    return "correct BACKUP_DATABASE_URL, or name a local stack with --name"
