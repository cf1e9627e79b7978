"""What Postgres runs for each WAL segment: `python -m backup.wal put|get FOLDER NAME PATH`, in its data directory.

put is the archive_command: 0 says that the segment is encrypted and on disk; anything else makes Postgres keep the
segment and try again. get is the restore_command: 1 says that the archive does not have it, and recovery ends there;
more than 125 stops recovery with an error, as a segment that cannot be trusted must.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from backup import keys, sealed
from backup.errors import BackupError
from backup.keys import Keyring

SUFFIX = ".sealed"
_NAMES = re.compile(r"[0-9A-F]{24}(\.partial|\.[0-9A-F]{8}\.backup)?|[0-9A-F]{8}\.history")
_PIECE = 1 << 20
_MISSING, _UNUSABLE = 1, 200


def put(folder: Path, system: str, name: str, segment: Path, keyring: Keyring) -> bool:
    """Archives a segment; False when it is there already with the same content.

    Raises BackupError, and changes nothing, when another content is archived under that name.
    """
    target = location(folder, system, name)
    if not target.parent.is_dir():
        with suppress(FileExistsError):
            target.parent.mkdir(parents=True, mode=0o700)
        sealed.sync_folder(target.parent.parent)
    if target.exists():
        if not _same(sealed.unsealed(target, keyring, sealed_name(system, name)), segment):
            raise BackupError(
                f"{target} is archived with another content: it is not overwritten",
                "two servers archive to one folder, or a server went back in time; give this one a folder of its own",
            )
        sealed.sync_folder(target.parent)
        return False
    with sealed.published(target, keyring, sealed_name(system, name)) as sealer, segment.open("rb") as file:
        while piece := file.read(_PIECE):
            sealer.write(piece)
    return True


def get(folder: Path, system: str, name: str, to: Path, keyring: Keyring) -> bool:
    """Writes an archived segment to a path; False when there is none. Raises BackupError for one that does not open."""
    source = location(folder, system, name)
    if not source.exists():
        return False
    try:
        with to.open("wb") as file:
            for piece in sealed.unsealed(source, keyring, sealed_name(system, name)):
                file.write(piece)
    except BackupError:
        to.unlink(missing_ok=True)
        raise
    return True


def location(folder: Path, system: str, name: str) -> Path:
    """Where a segment or history file is archived; raises BackupError for what is neither."""
    if not _NAMES.fullmatch(name):
        raise BackupError(f"{name!r} is no name of a WAL file", "write %f in archive_command and restore_command")
    return folder / system / "wal" / f"{name}{SUFFIX}"


def sealed_name(system: str, name: str) -> str:
    """The name that a WAL file is sealed under."""
    return f"{system}/wal/{name}"


def system_of(data: Path) -> str:
    """The system identifier of a data directory: the first 8 bytes of its control file."""
    with (data / "global" / "pg_control").open("rb") as file:
        return str(int.from_bytes(file.read(8), sys.byteorder))


def main(arguments: list[str]) -> int:
    """Runs one command; prints one line to the server's log when it fails."""
    try:
        command, folder, name, path = arguments
        keyring = keys.read(os.environ)
        run = {"put": put, "get": get}[command]
        done = run(Path(folder), system_of(Path()), name, Path(path), keyring)
    except Exception as error:  # whatever it is, `get` must not say that the archive just ends here
        hint = getattr(error, "hint", "")
        print(f"backup: {error}" + (f" ({hint})" if hint else ""), file=sys.stderr)
        return _UNUSABLE if arguments[:1] == ["get"] else 1
    return 0 if done or command == "put" else _MISSING


def _same(pieces: Iterator[bytes], path: Path) -> bool:
    with path.open("rb") as file:
        return all(file.read(len(piece)) == piece for piece in pieces) and not file.read(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
