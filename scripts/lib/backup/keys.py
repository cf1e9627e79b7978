"""The keys that backups are encrypted with: BACKUP_KEY, or the file that BACKUP_KEY_FILE names."""

import base64
import binascii
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from backup.errors import BackupError

VARIABLE = "BACKUP_KEY"
FILE_VARIABLE = "BACKUP_KEY_FILE"
KEY_BYTES = 32
_HINT = f"make one: ./scripts/backup --new-key; set {VARIABLE} in .env, and keep a copy away from the backups"


@dataclass(frozen=True)
class Keyring:
    """One or more AES-256 keys: the first encrypts, every one decrypts. `text` is how the environment holds them."""

    keys: tuple[bytes, ...]

    @property
    def text(self) -> str:
        """The keys in base64, separated by commas."""
        return ",".join(base64.b64encode(key).decode() for key in self.keys)

    def with_id(self, wanted: bytes) -> bytes | None:
        """The key whose identifier this is; None when we do not have it."""
        return next((key for key in self.keys if key_id(key) == wanted), None)


def new_key() -> str:
    """A new random key, in base64."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def key_id(key: bytes) -> bytes:
    """8 bytes that tell keys apart and say nothing about them."""
    return derive(key, b"", b"orchestrator-ai backup key id")[:8]


def derive(key: bytes, salt: bytes, purpose: bytes) -> bytes:
    """A 32-byte key for one purpose (HKDF-SHA256, RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=purpose).derive(key)


def parse(text: str) -> Keyring:
    """The keys of a setting; raises BackupError for anything that is not 32 bytes in base64."""
    keys = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            key = base64.b64decode(part, validate=True)
        except binascii.Error as error:
            raise BackupError(f"{VARIABLE} is not base64", _HINT) from error
        if len(key) != KEY_BYTES:
            raise BackupError(f"{VARIABLE} has {len(key)} bytes where AES-256 takes {KEY_BYTES}", _HINT)
        keys.append(key)
    if not keys:
        raise BackupError(f"{VARIABLE} is not set", _HINT)
    return Keyring(tuple(keys))


def read(environment: Mapping[str, str]) -> Keyring:
    """The keys that these variables give: the text itself goes before the file."""
    if text := environment.get(VARIABLE):
        return parse(text)
    if path := environment.get(FILE_VARIABLE):
        try:
            return parse(Path(path).read_text())
        except OSError as error:
            raise BackupError(f"{FILE_VARIABLE}: {path} cannot be read: {error.strerror}", _HINT) from error
    raise BackupError(f"{VARIABLE} is not set", _HINT)
