"""Which backups and which WAL are old enough to go.

Full backups are kept for 30 days, WAL for 7. A full backup carries the WAL that it needs to be restored to its own
end, so that much stays possible for 30 days. For a restore to any time of the last 7 days, the newest full backup from
before those days is needed, and all WAL since its start: both stay, however old they are. So does the newest backup.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backup.store import Backup, Store
from backup.timelines import segment_number

FULL = timedelta(days=30)
WAL = timedelta(days=7)
_ABANDONED = timedelta(days=2)  # longer than a backup takes, the check included
_SEGMENT = re.compile(r"[0-9A-F]{24}(\..+)?")


@dataclass(frozen=True)
class Plan:
    """What goes: backups by name, WAL files by name, and what unfinished attempts have left."""

    backups: list[str]
    segments: list[str]
    remains: list[Path]


def plan(store: Store, now: datetime | None = None, full: timedelta = FULL, wal: timedelta = WAL) -> Plan:
    """What may be removed at this time, with zone (default: now). Without a backup, nothing of the WAL."""
    now = now or datetime.now(UTC)
    known = store.backups()
    before = [backup for backup in known if backup.ended_at <= now - wal]
    anchor = before[-1] if before else (known[0] if known else None)
    kept = {backup.name for backup in (anchor, known[-1] if known else None) if backup}
    return Plan(
        backups=[backup.name for backup in known if backup.ended_at < now - full and backup.name not in kept],
        segments=_unneeded(store, anchor) if anchor else [],
        remains=_remains(store, {backup.name for backup in known}, now),
    )


def remove(store: Store, planned: Plan) -> None:
    """Removes what was planned; of a backup the manifest first, so that no half of one ever counts."""
    for name in planned.backups:
        store.manifest_of(name).unlink(missing_ok=True)
        store.archive_of(name).unlink(missing_ok=True)
    for name in planned.segments:
        (store.wal / f"{name}.sealed").unlink(missing_ok=True)
    for path in planned.remains:
        path.unlink(missing_ok=True)


def _unneeded(store: Store, anchor: Backup) -> list[str]:
    """WAL from before the start of a backup, on whatever timeline; history files are small, and all stay."""
    first = anchor.start_lsn // anchor.segment_bytes
    names = [name for name in store.segments() if _SEGMENT.fullmatch(name)]
    return [name for name in names if segment_number(name, anchor.segment_bytes) < first]


def _remains(store: Store, known: set[str], now: datetime) -> list[Path]:
    """Temporary files, and data of backups without a manifest, that nobody works on any more."""
    temporary = [*store.base.glob(".*.tmp"), *store.wal.glob(".*.tmp")]
    archives = store.base.glob("[!.]*.tar.sealed")
    without = [path for path in archives if path.name.removesuffix(".tar.sealed") not in known]
    oldest = (now - _ABANDONED).timestamp()
    return [path for path in [*temporary, *without] if path.stat().st_mtime < oldest]
