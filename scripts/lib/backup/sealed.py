"""Files that nobody reads or changes without the key: compressed, then AES-256-GCM in chunks.

    magic (8) | key id (8) | salt (32) | chunk | chunk | ... | last chunk

Each file has a key of its own, made by HKDF from the keyring's key, the salt and the file's name in the backup folder.
A chunk is up to 1 MiB and its tag; its nonce is its number and whether it is the last, and the head is authenticated
with each. So chunks that were changed, swapped, dropped or brought from another file do not open, nor does a file that
was cut off or continued, nor one under another's name. (This is STREAM of Hoang, Reyhanitabar, Rogaway and Vizár.)
"""

import os
import secrets
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backup.errors import BackupError
from backup.keys import VARIABLE, Keyring, derive, key_id

MAGIC = b"OAIBKUP1"
CHUNK = 1 << 20
_SALT, _TAG, _ID = 32, 16, 8
_HEAD = len(MAGIC) + _ID + _SALT


class Sealer:
    """Writes one sealed file; `name` is its path in the backup folder. What `close` has not ended does not open."""

    def __init__(self, file: BinaryIO, keyring: Keyring, name: str) -> None:
        salt = secrets.token_bytes(_SALT)
        self._file = file
        self._head = MAGIC + key_id(keyring.keys[0]) + salt
        self._cipher = _cipher(keyring.keys[0], salt, name)
        self._squeeze = zlib.compressobj(1)
        self._waiting = bytearray()
        self._number = 0
        file.write(self._head)

    def write(self, data: bytes) -> None:
        """Adds bytes of the content."""
        self._add(self._squeeze.compress(data))

    def close(self) -> None:
        """Writes the end, without which the file does not open."""
        self._add(self._squeeze.flush())
        self._chunk(bytes(self._waiting), last=True)

    def _add(self, data: bytes) -> None:
        self._waiting += data
        while len(self._waiting) > CHUNK:
            self._chunk(bytes(self._waiting[:CHUNK]), last=False)
            del self._waiting[:CHUNK]

    def _chunk(self, data: bytes, *, last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._number, last), data, self._head))
        self._number += 1


def unsealed(path: Path, keyring: Keyring, name: str) -> Iterator[bytes]:
    """The content in pieces, each authenticated; that nothing is missing is known only after the last.

    Raises BackupError for a wrong key and for a file that is not the one sealed under this name.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
        if len(head) < _HEAD or not head.startswith(MAGIC):
            raise BackupError(f"{path} is no sealed file of a backup, or was cut off", "use another backup")
        key = keyring.with_id(head[len(MAGIC) : len(MAGIC) + _ID])
        if key is None:
            sealed_with, ours = head[len(MAGIC) : len(MAGIC) + _ID].hex(), key_id(keyring.keys[0]).hex()
            raise BackupError(
                f"{path} was encrypted with another key ({sealed_with}; {VARIABLE} is {ours})",
                f"set {VARIABLE} to the key it was made with; several keys are separated by commas",
            )
        chunks = _opened(file, _cipher(key, head[-_SALT:], name), head, path)
        yield from _inflated(chunks)


def contents(path: Path, keyring: Keyring, name: str) -> bytes:
    """All of a small sealed file. Raises BackupError as `unsealed` does."""
    return b"".join(unsealed(path, keyring, name))


@contextmanager
def published(path: Path, keyring: Keyring, name: str) -> Iterator[Sealer]:
    """A sealed file that appears under its path whole and on disk, when the block ends well, or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            sealer = Sealer(file, keyring, name)
            yield sealer
            sealer.close()
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes new names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Reading:
    """Pieces of bytes as a file to read from, for tarfile."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._waiting = memoryview(b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Reads to the end unless something went wrong: only then is it known that nothing is missing."""
        if error is None:
            for _ in self._pieces:
                pass

    def read(self, size: int) -> bytes:
        """Up to that many bytes; fewer only at the end."""
        parts, missing = [], size
        while missing:
            if not self._waiting:
                self._waiting = memoryview(next(self._pieces, b""))
                if not self._waiting:
                    break
            parts.append(self._waiting[:missing])
            self._waiting = self._waiting[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)


def _opened(file: BinaryIO, cipher: AESGCM, head: bytes, path: Path) -> Iterator[bytes]:
    number, chunk = 0, file.read(CHUNK + _TAG)
    while True:
        following = file.read(CHUNK + _TAG)
        try:
            yield cipher.decrypt(_nonce(number, not following), chunk, head)
        except InvalidTag as error:
            raise BackupError(
                f"{path}: chunk {number + 1} is not what was written: the file was changed, cut off, reordered, "
                "or bears another's name",
                "do not use it; restore from another copy of the backup folder, or from another backup",
            ) from error
        if not following:
            return
        number, chunk = number + 1, following


def _inflated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    inflate = zlib.decompressobj()
    for piece in pieces:
        if data := inflate.decompress(piece):
            yield data
    if data := inflate.flush():
        yield data


def _cipher(key: bytes, salt: bytes, name: str) -> AESGCM:
    return AESGCM(derive(key, salt, b"orchestrator-ai backup file\0" + name.encode()))


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
