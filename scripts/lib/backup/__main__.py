"""Command line of ./scripts/backup."""

import argparse
import shlex
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from backup import checks, keys, options, pruning, runner, store, timelines
from backup.errors import BackupError
from backup.store import Store
from localstack import archiving

_ARCHIVE_SECONDS = 120.0


def main(arguments: list[str] | None = None) -> int:
    """0 when what was asked for is done, 1 when not."""
    chosen = _parser().parse_args(arguments)
    command = next((run for name, run in COMMANDS.items() if getattr(chosen, name)), full)
    return options.guarded("backup", lambda: command(chosen))


def full(chosen: argparse.Namespace) -> int:
    """Makes a full backup; it counts once a restore of it has been checked."""
    server, tools = options.source(chosen), options.tools(chosen)
    facts = server.facts()
    place = Store(options.folder(chosen), facts.system, _keyring())
    began = time.monotonic()
    made = server.base_backup(place, facts, tools.binaries)
    taken = time.monotonic()
    try:
        if not chosen.no_verify:
            made = checks.verify(place, made, tools, chosen.scratch)
        place.save(made)
    except BaseException:
        place.archive_of(made.name).unlink(missing_ok=True)
        raise
    checked = "not checked" if chosen.no_verify else f"restored and checked in {time.monotonic() - taken:.1f} s"
    print(f"backup: {made.name}, {made.size_bytes:,} bytes in {taken - began:.1f} s, {checked}")
    if not facts.archiving:
        print("backup: the server archives no WAL: there is no restore to times between backups; see docs/backup.md")
    return 0


def incremental(chosen: argparse.Namespace) -> int:
    """Archives the WAL written so far."""
    server = options.source(chosen)
    facts = server.facts()
    if not facts.archiving:
        raise BackupError("the server archives no WAL", "./scripts/stack up --backups DIR; or see docs/backup.md")
    place = Store(options.folder(chosen), facts.system, _keyring())
    segment = server.archive_now(place, _ARCHIVE_SECONDS)
    print(f"backup: the WAL is archived to {segment}, {datetime.now(UTC):%F %T+00}")
    return 0


def verify(chosen: argparse.Namespace) -> int:
    """Restores a backup and all WAL after it into a scratch server and looks through it."""
    place = _existing(chosen)
    wanted = place.backup(None if chosen.verify == "newest" else chosen.verify)
    began = time.monotonic()
    checked = checks.verify(place, wanted, options.tools(chosen), chosen.scratch)
    place.save(checked)
    tables = sum(len(found) for found in checked.tables.values())
    rows = sum(int(table[0]) for found in checked.tables.values() for table in found.values())
    seconds = time.monotonic() - began
    print(
        f"backup: {checked.name} restores: {tables} tables with {rows:,} rows, and the WAL after it, in {seconds:.1f} s"
    )
    return 0


def prune(chosen: argparse.Namespace) -> int:
    """Removes what is older than it has to be kept."""
    place = _existing(chosen)
    planned = pruning.plan(place)
    if not chosen.dry_run:
        pruning.remove(place, planned)
    for name in planned.backups:
        print(name)
    done = "would remove" if chosen.dry_run else "removed"
    print(
        f"backup: {done} {len(planned.backups)} full backups, {len(planned.segments)} WAL files, "
        f"{len(planned.remains)} files of unfinished attempts"
    )
    return 0


def listing(chosen: argparse.Namespace) -> int:
    """Lists the backups and how far the WAL after the newest reaches."""
    place = _existing(chosen)
    for backup in place.backups():
        checked = f"checked {backup.verified_at:%F %T+00}" if backup.verified_at else "not checked"
        print(f"{backup.name}  ended {backup.ended_at:%F %T+00}  {backup.size_bytes:>14,} bytes  {checked}")
    newest = place.backup(None)
    wal = timelines.following(place, newest)
    until = timelines.last_commit(place, wal, options.tools(chosen).binaries) or newest.ended_at
    print(f"backup: restores reach to {until:%F %T.%f+00}, timeline {wal.timeline}")
    if wal.missing:
        raise BackupError(f"the WAL segment {wal.missing} is missing", "make a full backup now")
    return 0


def settings(chosen: argparse.Namespace) -> int:
    """Prints the lines of postgresql.conf for a server that runs on this machine, as the user who calls this."""
    command = runner.command("put", options.folder(chosen), None)
    if key_file := archiving.backup_environment().get("BACKUP_KEY_FILE"):
        command = f"{keys.FILE_VARIABLE}={shlex.quote(key_file).replace('%', '%%')} {command}"
    else:
        print(f"# the server needs {keys.VARIABLE} in its environment, or set {keys.FILE_VARIABLE} and ask again")
    quoted = command.replace("'", "''")
    print(f"archive_mode = on\narchive_command = '{quoted}'\narchive_timeout = {archiving.TIMEOUT_SECONDS}")
    return 0


def new_key(_chosen: argparse.Namespace) -> int:
    """Prints a new key."""
    print(keys.new_key())
    return 0


COMMANDS = {
    "incremental": incremental,
    "verify": verify,
    "prune": prune,
    "list": listing,
    "settings": settings,
    "new_key": new_key,
}


def _existing(chosen: argparse.Namespace) -> Store:
    return store.find(options.folder(chosen), chosen.system, _keyring())


def _keyring() -> keys.Keyring:
    return keys.read(archiving.backup_environment())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/backup",
        description="Encrypted backups of a Postgres server. Without a command: a full one, checked by restoring it.",
        epilog=options.ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_argument_group("commands").add_mutually_exclusive_group()
    commands.add_argument("--incremental", action="store_true", help="archive the WAL written so far, and wait for it")
    commands.add_argument(
        "--verify", nargs="?", const="newest", metavar="BACKUP", help="restore a backup for a while and look through it"
    )
    commands.add_argument("--prune", action="store_true", help="remove full backups after 30 days, WAL after 7")
    commands.add_argument("--list", action="store_true", help="list the backups, and how far restores reach")
    commands.add_argument("--settings", action="store_true", help="print what to set in postgresql.conf")
    commands.add_argument("--new-key", action="store_true", help="print a new key")
    parser.add_argument("--to", type=Path, metavar="DIR", help="the backup folder (BACKUP_DIR, or the stack's)")
    parser.add_argument("--name", help="back up this local stack, whatever BACKUP_DATABASE_URL says")
    parser.add_argument("--no-verify", action="store_true", help="a full backup that is not checked")
    parser.add_argument("--dry-run", action="store_true", help="with --prune: only say what would go")
    options.add_common(parser)
    return parser


if __name__ == "__main__":
    options.heed_signals()
    sys.exit(main())
