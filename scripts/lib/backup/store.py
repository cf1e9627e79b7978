"""What lies in a backup folder: FOLDER/<system identifier>/base/NAME.{tar,manifest}.sealed and …/wal/SEGMENT.sealed.

The system identifier is the cluster's own: several servers may share a folder, and a server made anew never meets the
files of its predecessor. A backup without its manifest is one that did not succeed.
"""

import json
import os
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from backup import sealed
from backup.errors import BackupError
from backup.keys import Keyring
from backup.wal import SUFFIX

Sums = dict[str, dict[str, list[str]]]  # database -> table -> [number of rows, checksum of all rows]


@dataclass(frozen=True)
class Backup:
    """The manifest of a base backup. Times are the server's, with zone; LSNs are numbers."""

    name: str
    system: str
    server_version: int
    started_at: datetime
    ended_at: datetime
    timeline: int
    start_lsn: int
    end_lsn: int
    segment_bytes: int
    superuser: str
    archiving: bool
    size_bytes: int = 0
    verified_at: datetime | None = None
    tables: Sums = field(default_factory=dict)

    def to_json(self) -> bytes:
        """For the sealed file."""
        return json.dumps(asdict(self), default=str).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """What `to_json` gave."""
        values: dict[str, Any] = json.loads(data)
        for name in ("started_at", "ended_at", "verified_at"):
            values[name] = values[name] and datetime.fromisoformat(values[name])
        return cls(**values)

    def verified(self, at: datetime, tables: Sums) -> "Backup":
        """The same, found good."""
        return replace(self, verified_at=at, tables=tables)


@dataclass(frozen=True)
class Store:
    """The part of a backup folder that is one server's."""

    root: Path
    system: str
    keyring: Keyring

    @property
    def base(self) -> Path:
        """Base backups."""
        return self.root / self.system / "base"

    @property
    def wal(self) -> Path:
        """Archived segments and history files."""
        return self.root / self.system / "wal"

    def make(self) -> None:
        """Makes the folders for base backups; as root, so that the folder's owner can add the WAL."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.base.parent.mkdir(exist_ok=True, mode=0o700)
        if os.geteuid() == 0:
            owner = self.root.stat()
            os.chown(self.base.parent, owner.st_uid, owner.st_gid)
        self.base.mkdir(exist_ok=True, mode=0o700)

    def archive_of(self, name: str) -> Path:
        """The data of a backup: a sealed tar file."""
        return self.base / f"{name}.tar{SUFFIX}"

    def manifest_of(self, name: str) -> Path:
        """The manifest of a backup."""
        return self.base / f"{name}.manifest{SUFFIX}"

    def sealed_name(self, path: Path) -> str:
        """The name that a file is sealed under."""
        return str(path.relative_to(self.root)).removesuffix(SUFFIX)

    def save(self, backup: Backup) -> None:
        """Writes the manifest, whole or not at all: from then on the backup counts."""
        path = self.manifest_of(backup.name)
        with sealed.published(path, self.keyring, self.sealed_name(path)) as file:
            file.write(backup.to_json())

    def backups(self) -> list[Backup]:
        """Every backup that succeeded, the oldest first."""
        paths = self.base.glob(f"[!.]*.manifest{SUFFIX}")
        found = [Backup.from_json(sealed.contents(path, self.keyring, self.sealed_name(path))) for path in paths]
        return sorted(found, key=lambda backup: backup.ended_at)

    def backup(self, name: str | None) -> Backup:
        """One backup by name, or the newest; raises BackupError when there is none."""
        known = self.backups()
        found = [backup for backup in known if name in (None, backup.name)]
        if not found:
            what = f"no backup {name!r}" if name else "no backup"
            raise BackupError(
                f"there is {what} of {self.system} in {self.root}",
                f"there are: {', '.join(backup.name for backup in known)}" if known else "make one: ./scripts/backup",
            )
        return found[-1]

    def segments(self) -> list[str]:
        """Names of the archived WAL files, sorted: segments, history files and others."""
        return sorted(path.name.removesuffix(SUFFIX) for path in self.wal.glob(f"[!.]*{SUFFIX}"))


def find(root: Path, system: str | None, keyring: Keyring) -> Store:
    """The part of a folder that is the given server's, or the only one; raises BackupError when that is not clear."""
    if not root.is_dir():
        raise BackupError(f"there is no folder {root}", "name the folder of the backups")
    systems = sorted(path.name for path in root.iterdir() if path.name.isdecimal() and path.is_dir())
    if system is None and len(systems) == 1:
        system = systems[0]
    if system is None or system not in systems:
        known = ", ".join(systems) or "none"
        raise BackupError(f"which server's backups in {root}? There are: {known}", "choose with --system IDENTIFIER")
    return Store(root, system, keyring)
