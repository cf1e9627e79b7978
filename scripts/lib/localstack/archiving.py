"""The WAL archive of a stack: whether there is one, and what Postgres is told and given for it.

What was chosen stands in .stack/<name>/archiving.json; a copy of the key lies beside the data, for Postgres' user.
"""

import json
import os
from pathlib import Path

from localstack import envfile
from localstack.errors import StackError
from localstack.instance import Instance
from localstack.paths import DOTENV

NONE = "none"
TIMEOUT_SECONDS = 300  # a segment that is not full is archived after this: so much may be lost with the machine


def folder(instance: Instance) -> Path | None:
    """The backup folder of a stack; None when its WAL is not archived."""
    saved = _read(instance)
    return Path(saved["folder"]) if saved else None


def switch(instance: Instance, wanted: str) -> bool:
    """Turns archiving to a folder on, or off for "none"; returns whether Postgres has to be started anew for it.

    Raises BackupError without a usable BACKUP_KEY, and StackError for a file in the folder's place.
    """
    state = _state(instance)
    if wanted == NONE:
        was_on = state.exists()
        state.unlink(missing_ok=True)
        _key_file(instance).unlink(missing_ok=True)
        return was_on
    from backup import keys  # noqa: PLC0415 - slow to load, and most stacks do without

    keyring = keys.read(backup_environment())
    target = Path(wanted).expanduser().resolve()
    if target.exists() and not target.is_dir():
        raise StackError(f"{target} is no folder", "name a folder for the backups")
    before = _read(instance)
    if (before.get("folder"), before.get("key")) == (str(target), keyring.text):
        return False
    envfile.write_private(state, json.dumps({"folder": str(target), "key": keyring.text}))
    return True


def prepare(instance: Instance, user: int | None) -> None:
    """Before Postgres starts: makes the folder and the command that archives, and gives the key to Postgres' user."""
    saved = _read(instance)
    if not saved:
        return
    from backup import runner  # noqa: PLC0415

    target = Path(saved["folder"])
    if not target.exists():
        target.mkdir(parents=True, mode=0o700)
        if user is not None:
            os.chown(target, user, -1)
    runner.require_access(target, user)
    key_file = _key_file(instance)
    envfile.write_private(key_file, saved["key"])
    if user is not None:
        os.chown(key_file, user, -1)
    envfile.write_private(_state(instance), json.dumps(saved | {"command": runner.command("put", target, user)}))


def settings(instance: Instance) -> dict[str, str]:
    """What Postgres is told: nothing while archiving is off."""
    saved = _read(instance)
    if "command" not in saved:
        return {}
    return {"archive_mode": "on", "archive_command": saved["command"], "archive_timeout": str(TIMEOUT_SECONDS)}


def environment(instance: Instance) -> dict[str, str]:
    """Where the archiving command finds the key."""
    return {"BACKUP_KEY_FILE": str(_key_file(instance))} if folder(instance) else {}


def backup_environment() -> dict[str, str]:
    """The environment laid over .env."""
    return envfile.read(DOTENV) | {name: value for name, value in os.environ.items() if value}


def _state(instance: Instance) -> Path:
    return instance.home / "archiving.json"


def _key_file(instance: Instance) -> Path:
    return instance.cluster / "backup.key"


def _read(instance: Instance) -> dict[str, str]:
    try:
        saved: dict[str, str] = json.loads(_state(instance).read_text())
    except FileNotFoundError:
        return {}
    return saved
