"""The stack's block in .env: written by us between two marks, everything outside it is the user's and stays."""

import os
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values

from localstack.errors import StackError

BEGIN = "# >>> local stack: written by scripts/stack up, do not edit between these marks"
END = "# <<< local stack"


def read(path: Path) -> dict[str, str]:
    """The variables of a dotenv file, without the empty ones; {} when there is no such file."""
    return {name: value for name, value in dotenv_values(path, interpolate=False).items() if value}


def publish(path: Path, values: dict[str, str]) -> list[str]:
    """Writes values into the block of a dotenv file (mode 0600) and returns the names that the user's own lines keep.

    A name that the user sets outside the block to another value is left out of the block: their line wins.
    """
    old = path.read_text() if path.exists() else ""
    own = _without_block(old)
    shadowed = _shadowed(own, values)
    lines = [f"{name}={value}" for name, value in values.items() if name not in shadowed]
    separator = "" if not own or own.endswith("\n\n") else "\n" if own.endswith("\n") else "\n\n"
    write_private(path, own + separator + "\n".join([BEGIN, *lines, END, ""]), old)
    return shadowed


def write_private(path: Path, text: str, old: str | None = None) -> None:
    """Replaces a file at once (never half-written), readable by its owner only; does nothing when old is the text."""
    if old == text:
        return
    path = path.resolve()
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)


def _without_block(text: str) -> str:
    before, begin, rest = text.partition(f"{BEGIN}\n")
    if not begin:
        return text
    _, end, after = rest.partition(f"{END}\n")
    if not end:
        raise StackError(f"the line {END!r} is missing from .env", "restore it, or delete the block above it by hand")
    return before + after


def _shadowed(own: str, values: dict[str, str]) -> list[str]:
    theirs = dotenv_values(stream=StringIO(own), interpolate=False)
    return [name for name, value in values.items() if theirs.get(name) not in (None, "", value)]
