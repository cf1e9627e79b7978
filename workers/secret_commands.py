"""The commands `python -m workers secrets …`: a new key, a ciphertext, everything under a new key."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from workers.backend import Backend, connect
from workers.errors import SettingsError
from workers.keyring import VARIABLE, Keyring, new_key, split_keys
from workers.settings import Settings, load_secrets_key, load_settings

_MAX_BYTES = 65536
_SOURCES = ("organization_secrets", "git_credentials")
_ROUNDS = 5

_EPILOG = f"""\
{VARIABLE} holds the keys, separated by commas: the first encrypts, every one decrypts. To change the key:
  1. put a new one in front of the old one, for every worker and whoever encrypts; restart the workers
  2. python -m workers secrets rotate
  3. once that says that nothing is left, take the old key out
"""


class _Commands(Protocol):
    def add_parser(self, name: str, **keywords: Any) -> argparse.ArgumentParser:
        """Return a new parser, as argparse does."""


def add_parsers(commands: _Commands) -> None:
    """Add `secrets` and what it can do."""
    layout: dict[str, Any] = {"epilog": _EPILOG, "formatter_class": argparse.RawDescriptionHelpFormatter}
    secrets = commands.add_parser(
        "secrets",
        help="make keys and ciphertexts for organizations' secrets",
        description="Keys and ciphertexts.",
        **layout,
    )
    actions = secrets.add_subparsers(dest="action", required=True)
    described = {
        "new-key": f"print a new key for {VARIABLE}",
        "encrypt": "read a secret from standard input and print its ciphertext, for set_organization_secret",
        "rotate": "put every secret and git credential in the database under the first key",
    }
    for name, text in described.items():
        actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", **layout)


async def run(action: str, env: Mapping[str, str]) -> int:
    """Carry out an action and return the exit status: 0 done, 1 something cannot be read with the keys there are.

    Raises:
        SettingsError: a setting is missing or unusable.
        BackendError: the database cannot be worked with.
    """
    if action == "new-key":
        print(new_key())
        return 0
    keyring = Keyring(split_keys(load_secrets_key(env)))
    if action == "encrypt":
        print(keyring.encrypt(_read_secret()))
        return 0
    return await _rotate(load_settings(env), keyring)


def _read_secret() -> str:
    try:
        text = getpass.getpass("secret: ") if sys.stdin.isatty() else sys.stdin.buffer.read(_MAX_BYTES + 3).decode()
    except UnicodeDecodeError:
        raise SettingsError("standard input is not UTF-8: encode a binary secret, e.g. as base64") from None
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise SettingsError("there is no secret on standard input")
    if len(secret.encode()) > _MAX_BYTES:
        raise SettingsError("the secret is over 64 KiB")
    return secret


@dataclass
class _Tally:
    """What became of the ciphertexts of a table."""

    renewed: int = 0
    current: int = 0
    busy: int = 0
    unreadable: int = 0


async def _rotate(settings: Settings, keyring: Keyring) -> int:
    left = 0
    async with connect(
        settings.supabase_url,
        settings.supabase_key,
        key_variable=settings.supabase_key_variable,
        timeout_seconds=settings.request_timeout,
    ) as database:
        for source in _SOURCES:
            tally, renewed = _Tally(), 0
            for _ in range(_ROUNDS):  # What was being written meanwhile is looked at again.
                tally = await _rotate_table(database, keyring, source)
                renewed += tally.renewed
                if not (tally.renewed or tally.busy):
                    break
            print(
                f"{source}: {renewed} put under the first key, {tally.current} under it, "
                f"{tally.unreadable} that no key fits, {tally.busy} busy"
            )
            left += tally.unreadable + tally.busy
    print("nothing is left under other keys" if not left else f"{left} left: do not take the old key out yet")
    return 1 if left else 0


async def _rotate_table(database: Backend, keyring: Keyring, source: str) -> _Tally:
    tally = _Tally()
    after: str | None = None
    while rows := await database.call("read_ciphertexts", {"source": source, "after": after}):
        after = rows[-1]["id"]
        items = []
        for row in rows:
            new = keyring.renew(row["ciphertext"])
            if new is None:
                tally.unreadable += 1
                print(f"{source} {row['id']}: no key fits, or it was tampered with", file=sys.stderr)
            elif new == row["ciphertext"]:
                tally.current += 1
            else:
                items.append({"id": row["id"], "old": row["ciphertext"], "new": new})
        if items:
            changed = await database.call("replace_ciphertexts", {"source": source, "items": items})
            tally.renewed += len(changed)
            tally.busy += len(items) - len(changed)
    return tally
