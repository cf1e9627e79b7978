"""What the two commands have in common: their settings, which server and folder is meant, and how errors are told."""

import argparse
import os
import pwd
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from backup.errors import BackupError
from backup.server import Tools
from backup.source import Source
from localstack import archiving, instance, postgres
from localstack.errors import StackError
from localstack.instance import DEFAULT_NAME, Instance

ENVIRONMENT = """\
environment, or .env:
  BACKUP_KEY           32 bytes in base64; several are separated by commas: the first encrypts, every one decrypts
  BACKUP_KEY_FILE      a file that holds it instead
  BACKUP_DIR           the backup folder
  BACKUP_DATABASE_URL  the server to back up, as a role with replication; without it, a local stack
  BACKUP_PG_BIN        the server's own programs (pg_basebackup, …); without it, those of the local stack

docs/backup.md says what else must be kept, and how to run it by schedule.
"""


def add_common(parser: argparse.ArgumentParser) -> None:
    """The options that both commands have."""
    parser.add_argument("--system", metavar="ID", help="whose backups, where several servers share the folder")
    parser.add_argument("--bin", type=Path, metavar="DIR", help="folder of the server's programs (BACKUP_PG_BIN)")
    parser.add_argument("--user", help="as root: the user that Postgres runs as (default: the local stack's)")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="where to restore for a while (default: TMPDIR)")


def tools(options: argparse.Namespace) -> Tools:
    """The programs and the user to run them as."""
    binaries = options.bin or archiving.backup_environment().get("BACKUP_PG_BIN")
    user = postgres.prepare_user()
    if options.user and os.geteuid() == 0:
        try:
            user = pwd.getpwnam(options.user).pw_uid
        except KeyError:
            raise BackupError(f"there is no user {options.user!r}", "name one with --user") from None
    return Tools(Path(binaries) if binaries else postgres.binaries(), user)


def source(options: argparse.Namespace) -> Source:
    """The server to back up: the stack named, else the address in the environment, else the stack `dev`."""
    address = archiving.backup_environment().get("BACKUP_DATABASE_URL")
    if options.name is None and address:
        return Source(address)
    return Source(instance.require(options.name or DEFAULT_NAME).database_url("supabase_admin"))


def folder(options: argparse.Namespace) -> Path:
    """The backup folder: as said, else BACKUP_DIR, else where the local stack archives to."""
    if chosen := options.to or archiving.backup_environment().get("BACKUP_DIR"):
        return Path(chosen).expanduser().resolve()
    stack = _stack(options)
    found = archiving.folder(stack) if stack else None
    if found is None:
        raise BackupError("which backup folder?", "say --to DIR, or set BACKUP_DIR in .env")
    return found


def heed_signals() -> None:
    """Lets SIGTERM and SIGHUP end this process by an exception, so that scratch servers end with it."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminated)


def guarded(name: str, run: Callable[[], int]) -> int:
    """Runs a command: its exit code, 1 for an error that was explained, 130 when interrupted."""
    try:
        return run()
    except (BackupError, StackError, OSError) as error:
        print(f"{name}: {error}", *filter(None, [getattr(error, "hint", None)]), sep="\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _stack(options: argparse.Namespace) -> Instance | None:
    if options.name is None and archiving.backup_environment().get("BACKUP_DATABASE_URL"):
        return None
    return instance.load(options.name or DEFAULT_NAME)


def _terminated(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
