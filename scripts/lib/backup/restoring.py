"""Command line of ./scripts/restore: a backup and its WAL become a data directory, as it was at a time."""

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from backup import keys, options, runner, server, store, timelines
from backup.errors import BackupError
from backup.server import Server, Tools
from backup.source import require_version
from backup.store import Backup, Store
from backup.timelines import Wal
from localstack import archiving, instance, postgres, processes

_NONE_AFTER = "restore: no transaction ended between the backup and the time restored to"
_REACHED = """
select coalesce(to_char(pg_last_xact_replay_timestamp() at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00'), ''),
  pg_current_wal_lsn()::text, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)
"""


@dataclass(frozen=True)
class Plan:
    """What to restore: a backup, the WAL after it, and the settings that say where recovery ends."""

    backup: Backup
    wal: Wal
    target: dict[str, str]


def main(arguments: list[str] | None = None) -> int:
    """0 when the data directory is there, 1 when not; then nothing is left of the attempt."""
    chosen = _parser().parse_args(arguments)
    return options.guarded("restore", lambda: restore(chosen))


def restore(chosen: argparse.Namespace) -> int:
    """Restores, and says what to do next."""
    place = store.find(chosen.source.expanduser().resolve(), chosen.system, keys.read(archiving.backup_environment()))
    tools = options.tools(chosen)
    runner.require_access(place.root, tools.user, "-r")
    data = chosen.into.expanduser().resolve() if chosen.into else _data_of(chosen.stack)
    with _empty(data, tools):
        planned = plan(place, tools, chosen.to_time, chosen.backup, chosen.timeline)
        server.unpack(place, planned.backup, data, tools)
        reached, lsn, timeline = _recover(place, planned, data, tools, chosen.scratch)
    print(f"restore: {data} holds {planned.backup.name} and its WAL along timeline {planned.wal.timeline} to {lsn}")
    print(f"restore: the last transaction after the backup ended at {reached}" if reached else _NONE_AFTER)
    print(f"restore: start the server on it (timeline {int(timeline, 16)}), look at the data, then make a full backup")
    return 0


def plan(place: Store, tools: Tools, to_time: datetime | None, name: str | None, timeline: int | None) -> Plan:
    """The newest backup that a time can be reached from (or the one named), after checking that it can.

    Without a time: to the end of the archive; with a name alone: to the end of that backup. Raises BackupError for a
    time that the backups do not reach, and for WAL that is missing.
    """
    backup = place.backup(name) if name or to_time is None else _newest_before(place, to_time)
    require_version(backup.server_version, tools.binaries)
    wal = timelines.following(place, backup, timeline)
    if to_time is not None:
        if to_time < backup.ended_at:
            raise BackupError(f"{backup.name} ended at {backup.ended_at}, after {to_time}", "choose an earlier backup")
        _require_reach(place, backup, wal, to_time, tools.binaries)
        target = {"recovery_target_time": f"{to_time:%F %T.%f%z}", "recovery_target_action": "promote"}
    elif name:
        target = {"recovery_target": "immediate", "recovery_target_action": "promote"}
    else:
        target = {}
        if wal.missing:
            until = timelines.last_commit(place, wal, tools.binaries) or backup.ended_at
            raise BackupError(
                f"the WAL segment {wal.missing} is missing from the archive, and later ones are there",
                f"find it, or restore what is before it: --to-time with a time before {until}",
            )
    return Plan(backup, wal, target)


def _newest_before(place: Store, to_time: datetime) -> Backup:
    known = place.backups()
    before = [backup for backup in known if backup.ended_at <= to_time]
    if before:
        return before[-1]
    if not known:
        return place.backup(None)
    raise BackupError(
        f"{to_time} is before the end of the oldest backup, {known[0].name}, at {known[0].ended_at}",
        "a backup can be restored to its own end and to times after it: choose a later time",
    )


def _require_reach(place: Store, backup: Backup, wal: Wal, to_time: datetime, binaries: Path) -> None:
    last = timelines.last_commit(place, wal, binaries)
    if last is None and wal.segments:
        return  # very long ago: recovery itself will say whether it got there
    until = last or backup.ended_at
    if to_time < until:
        return
    if wal.missing:
        raise BackupError(
            f"the WAL segment {wal.missing} is missing from the archive: {to_time} cannot be reached",
            f"find it, or choose a time before {until}",
        )
    raise BackupError(
        f"{to_time} is after the last archived transaction, at {until}",
        "choose an earlier time, or leave --to-time out to restore all there is",
    )


def _recover(place: Store, planned: Plan, data: Path, tools: Tools, below: Path | None) -> tuple[str, str, str]:
    """Replays the WAL and opens a new timeline; returns the last transaction's time, the LSN and the timeline."""
    settings = server.recovery_settings(place, planned.wal, tools) | {"hot_standby": "off"} | planned.target
    if os.environ.get("STACK_FSYNC") == "off":  # as in localstack: for tests only
        settings["fsync"] = "off"
    server.begin_recovery(data, tools)
    with server.scratch(tools, below) as folder:
        with Server(data, tools, planned.backup, settings, place.keyring.text).running(folder) as running:
            running.wait_until("select not pg_is_in_recovery()")
            with running.connect("template1") as connection:
                row = connection.execute(_REACHED).fetchone()
            assert row
        reached, lsn, timeline = (str(value) for value in row)
    # What the server would have done with archiving on: once it is, the archive learns of the new timeline.
    ready = data / "pg_wal" / "archive_status" / f"{timeline}.history.ready"
    ready.touch(mode=0o600)
    tools.own(ready)
    return reached, lsn, timeline


def _data_of(name: str) -> Path:
    stack = instance.require(name)
    service = postgres.service(stack)
    if service.name in processes.running([service]):
        raise BackupError(f"the stack {name} is up", f"./scripts/stack down --name {name}, then move its data away")
    return stack.cluster / "data"


@contextmanager
def _empty(data: Path, tools: Tools) -> Iterator[None]:
    """An empty folder that Postgres may write to; emptied again, or removed, when the block fails."""
    existed = data.exists()
    if existed and (not data.is_dir() or any(data.iterdir())):
        raise BackupError(f"{data} is not empty: nothing was touched", "name a new folder, or move the old one away")
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    tools.own(data)
    try:
        runner.require_access(data, tools.user)
        yield
    except BaseException:
        shutil.rmtree(data)
        if existed:
            data.mkdir(mode=0o700)
            tools.own(data)
        raise


def _time(text: str) -> datetime:
    """A time with its zone, as --to-time takes it."""
    try:
        time = datetime.fromisoformat(re.sub(r"\s+(?=[+-]\d|Z$)", "", text.strip()))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time like '2026-11-23 12:00:00+00'") from None
    if time.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} does not say its zone: write '{text}+00' for UTC")
    return time


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/restore",
        description="Restores into a new data directory: to a time, the end of the archive, or the end of a backup.",
        epilog=options.ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--from", dest="source", type=Path, required=True, metavar="DIR", help="the backup folder")
    into = parser.add_mutually_exclusive_group(required=True)
    into.add_argument("--into", type=Path, metavar="DIR", help="new or empty data directory")
    into.add_argument("--stack", metavar="NAME", help="the place of a local stack's, moved away or lost before")
    parser.add_argument(
        "--to-time", type=_time, metavar="TIME", help="e.g. '2026-11-23 12:00:00+00' (default: the end)"
    )
    parser.add_argument("--backup", metavar="NAME", help="from this backup; without --to-time, to its own end")
    parser.add_argument("--timeline", type=int, metavar="N", help="along this timeline (default: the newest)")
    options.add_common(parser)
    return parser


if __name__ == "__main__":
    options.heed_signals()
    sys.exit(main())
