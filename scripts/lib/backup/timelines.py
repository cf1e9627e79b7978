"""Which archived WAL continues a backup: through timelines, up to the first segment that is missing."""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, pairwise
from pathlib import Path

from backup import sealed, wal
from backup.errors import BackupError
from backup.store import Backup, Store

_SEGMENT = re.compile(r"[0-9A-F]{24}")
_COMMIT = re.compile(r"desc: (?:COMMIT|ABORT).*?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) UTC")
_LOOK_BACK = 64  # segments to look for a commit in; without one, recovery itself says whether it got there


@dataclass(frozen=True)
class Wal:
    """The WAL that continues a backup: its last timeline, its segments, and the first missing one, if any."""

    timeline: int
    segments: list[str]
    missing: str | None


def parse_lsn(text: str) -> int:
    """0/2000028 as a number."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def segment_name(timeline: int, number: int, segment_bytes: int) -> str:
    """The file name of a segment, counted from the beginning of all WAL."""
    per_file = (1 << 32) // segment_bytes
    return f"{timeline:08X}{number // per_file:08X}{number % per_file:08X}"


def segment_number(name: str, segment_bytes: int) -> int:
    """The number that `segment_name` made a name of."""
    return int(name[8:16], 16) * ((1 << 32) // segment_bytes) + int(name[16:24], 16)


def following(store: Store, backup: Backup, timeline: int | None = None) -> Wal:
    """The archived WAL after a backup, on the given timeline or the newest that continues it.

    Raises BackupError for a timeline that does not continue the backup, or has no WAL: Postgres would then go on along
    its parent, past the point where it began.
    """
    begins = _chain(store, backup, timeline)
    size = backup.segment_bytes
    present = {name for name in store.segments() if _SEGMENT.fullmatch(name)}
    _require_begun(begins, present, size)
    wanted: list[str] = []
    for number in count((backup.end_lsn - 1) // size + 1):
        name = segment_name(_timeline_of(number, begins), number, size)
        if name not in present:
            break
        wanted.append(name)
    later = any(
        segment_number(other, size) > number and int(other[:8], 16) == _timeline_of(segment_number(other, size), begins)
        for other in present
    )
    return Wal(begins[-1][0], wanted, name if later else None)


def last_commit(store: Store, found: Wal, binaries: Path) -> datetime | None:
    """When the last transaction in this WAL ended; None when it has none (or none in its last segments)."""
    for name in reversed(found.segments[-_LOOK_BACK:]):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            wal.get(store.root, store.system, name, path, store.keyring)
            done = subprocess.run(
                [binaries / "pg_waldump", "--rmgr=Transaction", path],
                check=False,
                capture_output=True,
                text=True,
                env={"TZ": "UTC", "LC_ALL": "C"},
            )
        if times := _COMMIT.findall(done.stdout):
            return max(datetime.fromisoformat(time).replace(tzinfo=UTC) for time in times)
    return None


def _chain(store: Store, backup: Backup, timeline: int | None) -> list[tuple[int, int]]:
    """Timelines from the backup's on, each with the number of its first segment."""
    histories = [int(name[:8], 16) for name in store.segments() if name.endswith(".history")]
    candidates = sorted((number for number in histories if number > backup.timeline), reverse=True)
    for candidate in [timeline] if timeline else [*candidates, backup.timeline]:
        if candidate == backup.timeline:
            return [(candidate, 0)]
        if candidate in histories and (chain := _branches(store, backup, candidate)):
            return chain
    raise BackupError(
        f"timeline {timeline} does not continue the backup {backup.name}, which is on timeline {backup.timeline}",
        f"the archive has the history of: {', '.join(map(str, candidates)) or 'no other timeline'}",
    )


def _branches(store: Store, backup: Backup, timeline: int) -> list[tuple[int, int]]:
    """The chain to a timeline; empty when that branched off before the end of the backup, or elsewhere."""
    name = f"{timeline:08X}.history"
    path = wal.location(store.root, store.system, name)
    text = sealed.contents(path, store.keyring, wal.sealed_name(store.system, name)).decode()
    rows = [line.split("\t") for line in text.splitlines() if re.match(r"\d+\t", line)]
    ends = [(int(row[0]), parse_lsn(row[1])) for row in rows]
    own = [place for place, (parent, _) in enumerate(ends) if parent == backup.timeline]
    if not own or ends[own[0]][1] < backup.end_lsn:
        return []
    ends = ends[own[0] :]
    children = [*(parent for parent, _ in ends[1:]), timeline]
    begins = [(child, lsn // backup.segment_bytes) for child, (_, lsn) in zip(children, ends, strict=True)]
    return [(backup.timeline, 0), *begins]


def _require_begun(begins: list[tuple[int, int]], present: set[str], size: int) -> None:
    for (parent, _), (timeline, first) in pairwise(begins):
        if not any(int(name[:8], 16) == timeline and segment_number(name, size) >= first for name in present):
            raise BackupError(
                f"timeline {timeline} began in an earlier restore, but none of its WAL is archived",
                f"say which to follow, e.g. the one that it came from: --timeline {parent}",
            )


def _timeline_of(number: int, begins: list[tuple[int, int]]) -> int:
    return [timeline for timeline, first in begins if first <= number][-1]
