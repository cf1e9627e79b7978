"""The workers' Fernet keys, with which secrets are encrypted before they come to the database.

Of several keys the first encrypts and every one decrypts, so that a key is changed without a moment in which nothing
can be read.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

VARIABLE = "ORCHESTRATOR_SECRETS_KEY"


def new_key() -> str:
    """Return a new key."""
    return Fernet.generate_key().decode()


def split_keys(text: str) -> tuple[str, ...]:
    """Return the keys of a setting, which commas separate."""
    return tuple(key.strip() for key in text.split(",") if key.strip())


class Keyring:
    """Encrypts and decrypts."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Take at least one key.

        Raises:
            ValueError: a key is none; the message says which by its place, and does not show it.
        """
        fernets = [_fernet(number, key) for number, key in enumerate(keys, 1)]
        if not fernets:
            raise ValueError("there is no key")
        self._first = fernets[0]
        self._all = MultiFernet(fernets)

    def encrypt(self, value: str) -> str:
        """Return `value` as a token of the first key."""
        return self._first.encrypt(value.encode()).decode()

    def decrypt(self, ciphertext: str) -> str | None:
        """Return what was encrypted; None when no key fits, or the token was tampered with."""
        try:
            return self._all.decrypt(ciphertext.encode()).decode()
        except (InvalidToken, ValueError):
            return None

    def renew(self, ciphertext: str) -> str | None:
        """Return a token of the first key, the same one if it is that already; None as of `decrypt`."""
        try:
            self._first.decrypt(ciphertext.encode())
        except (InvalidToken, ValueError):
            pass
        else:
            return ciphertext
        try:
            return self._all.rotate(ciphertext.encode()).decode()
        except (InvalidToken, ValueError):
            return None


def _fernet(number: int, key: str) -> Fernet:
    try:
        return Fernet(key)
    except ValueError:
        raise ValueError(f"key number {number} is not a Fernet key (32 bytes in URL-safe base64)") from None
