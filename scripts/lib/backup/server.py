"""A server of our own on restored files: unpacking them, and a Postgres that only we can reach.

It listens on a socket in a private folder, takes none of the restored server's settings (libraries, jobs, archiving),
and runs as the user that the data belongs to.
"""

import os
import pwd
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psycopg

from backup import runner, sealed
from backup.errors import BackupError
from backup.store import Backup, Store
from backup.timelines import Wal

_CONTROL = {  # what a standby must not have less of than its primary had
    "max_connections setting": "max_connections",
    "max_worker_processes setting": "max_worker_processes",
    "max_wal_senders setting": "max_wal_senders",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
}
_TARGETS = tuple(f"recovery_target{kind}" for kind in ("", "_lsn", "_name", "_time", "_xid"))
_PORT = "5432"  # only part of the socket's name
_NOT_YET = "the database system is"  # starting up, in recovery, not yet accepting connections
_REFUSALS = 600  # half a minute: there is no socket at first
_WHY = re.compile(r"^backup: .*|(?:FATAL|PANIC): .*", re.MULTILINE)


@dataclass(frozen=True)
class Tools:
    """The programs of Postgres, and the user that they run as: None is ourselves, and never root."""

    binaries: Path
    user: int | None

    def run(self, program: str, *arguments: str | Path, environment: dict[str, str] | None = None) -> str:
        """The output of a program; raises BackupError when it fails."""
        done = subprocess.run(
            [self.binaries / program, *arguments],
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
            env={"LC_ALL": "C", "PATH": os.environ.get("PATH", "")} | (environment or {}),
            user=self.user,
            extra_groups=None if self.user is None else [],
        )
        if done.returncode != 0:
            raise BackupError(f"{program} failed (exit {done.returncode})", (done.stderr + done.stdout).strip()[-2000:])
        return done.stdout

    def own(self, path: Path) -> None:
        """Gives a file or folder to the user that runs the programs."""
        if self.user is not None:
            os.chown(path, self.user, pwd.getpwuid(self.user).pw_gid)


@contextmanager
def scratch(tools: Tools, below: Path | None = None) -> Iterator[Path]:
    """A private folder of the tools' user, deleted afterwards. A long path is none for a socket: the server says so."""
    path = Path(tempfile.mkdtemp(prefix="backup-", dir=below))
    try:
        tools.own(path)
        runner.require_access(path, tools.user)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def unpack(store: Store, backup: Backup, data: Path, tools: Tools) -> None:
    """Writes the files of a backup into an empty folder; recovery syncs them to disk. Raises BackupError."""
    path = store.archive_of(backup.name)
    if not path.exists():
        raise BackupError(f"{path} is missing", "restore another backup: ./scripts/backup --list")
    data.chmod(0o700)
    tools.own(data)
    pieces = sealed.unsealed(path, store.keyring, store.sealed_name(path))
    with sealed.Reading(pieces) as reading, tarfile.open(fileobj=reading, mode="r|") as tar:  # type: ignore[call-overload]
        for member in tar:
            _write(tar, member, data, tools)


class Server:
    """Postgres on a data directory in recovery; `settings` are added to what it needs."""

    def __init__(self, data: Path, tools: Tools, backup: Backup, settings: dict[str, str], key: str) -> None:
        self._data, self._tools, self._backup, self._settings, self._key = data, tools, backup, settings, key
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self, folder: Path) -> Iterator["Server"]:
        """Runs the server; its socket, settings and log lie in the folder. It is shut down in any case."""
        self._folder = folder
        for name, text in {"postgresql.conf": "", "pg_ident.conf": "", "pg_hba.conf": "local all all trust\n"}.items():
            (folder / name).write_text(text)
            self._tools.own(folder / name)
        options = [part for name, value in self._all_settings().items() for part in ("-c", f"{name}={value}")]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [self._tools.binaries / "postgres", "-D", self._data, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd="/",
                env={"PATH": os.environ.get("PATH", ""), "BACKUP_KEY": self._key, "LC_ALL": "C"},
                user=self._tools.user,
                extra_groups=None if self._tools.user is None else [],
            )
        try:
            yield self
        finally:
            self._stop()

    @property
    def log(self) -> str:
        """What the server has said."""
        return self._log.read_text(errors="replace")

    @property
    def environment(self) -> dict[str, str]:
        """The address for programs of Postgres."""
        return {"PGHOST": str(self._folder), "PGPORT": _PORT, "PGUSER": self._backup.superuser}

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """A connection as superuser, in autocommit."""
        return psycopg.connect(
            host=str(self._folder),
            port=_PORT,
            user=self._backup.superuser,
            dbname=database,
            autocommit=True,
            connect_timeout=10,
        )

    def wait_until(self, condition: str) -> None:
        """Returns when this SQL is true; raises BackupError, with the reason from its log, when the server ends."""
        assert self._process
        refusals = 0
        while self._process.poll() is None:
            try:
                with self.connect("template1") as connection:
                    row = connection.execute(condition.encode()).fetchone()
                    if row and row[0]:
                        return
            except psycopg.OperationalError as error:
                refusals += _NOT_YET not in str(error)
                if refusals > _REFUSALS:
                    raise BackupError(f"the restored server refuses us: {error}", self.log.strip()[-1500:]) from error
            time.sleep(0.05)
        reasons = _WHY.findall(self.log)
        ours = [reason.removeprefix("backup: ") for reason in reasons if reason.startswith("backup: ")]
        raise BackupError(
            f"recovery stopped: {(ours or reasons or ['the server ended'])[0]}",
            "" if ours else self.log.strip()[-1500:],
        )

    @property
    def _log(self) -> Path:
        return self._folder / "postgres.log"

    def _all_settings(self) -> dict[str, str]:
        report = self._tools.run("pg_controldata", "-D", self._data).splitlines()
        control = dict(line.split(":", 1) for line in report if ":" in line)
        # Or else what ALTER SYSTEM left in the data counts. First, because an empty target unsets one before it.
        unset = {name: "" for name in _TARGETS if name not in self._settings}
        return {
            **unset,
            "data_directory": str(self._data),
            "config_file": f"{self._folder}/postgresql.conf",
            "hba_file": f"{self._folder}/pg_hba.conf",
            "ident_file": f"{self._folder}/pg_ident.conf",
            "listen_addresses": "",
            "port": _PORT,
            "unix_socket_directories": str(self._folder),
            "ssl": "off",
            "logging_collector": "off",
            "log_destination": "stderr",
            "log_timezone": "UTC",
            "timezone": "UTC",
            "shared_preload_libraries": "",
            "session_preload_libraries": "",
            "local_preload_libraries": "",
            "shared_buffers": "128MB",
            "huge_pages": "off",
            "archive_mode": "off",
            "primary_conninfo": "",
            "autovacuum": "off",
            **{name: control[label].strip() for label, name in _CONTROL.items()},
            **self._settings,
        }

    def _stop(self) -> None:
        assert self._process
        for stop_signal in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            with suppress(ProcessLookupError):
                self._process.send_signal(stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(60)
                return


def recovery_settings(store: Store, wal: Wal, tools: Tools) -> dict[str, str]:
    """How a server in recovery gets its WAL."""
    return {
        "restore_command": runner.command("get", store.root, tools.user),
        "recovery_target_timeline": str(wal.timeline),
    }


def begin_recovery(data: Path, tools: Tools) -> None:
    """Makes the next start of a server on these files a recovery from the archive."""
    (data / "recovery.signal").touch(mode=0o600)
    tools.own(data / "recovery.signal")


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, data: Path, tools: Tools) -> None:
    relative = PurePosixPath(member.name)
    if relative.is_absolute() or ".." in relative.parts:
        raise BackupError(f"the backup holds a file outside of its folder: {member.name}")
    target = data / relative
    if member.isdir():
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
    elif member.isfile() and (content := tar.extractfile(member)):
        with target.open("wb") as file:
            shutil.copyfileobj(content, file)
        target.chmod(0o600)
    else:
        raise BackupError(f"the backup holds something that is neither file nor folder: {member.name}")
    tools.own(target)
