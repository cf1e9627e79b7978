"""Reads docs/seed-map.md: one Entry for each row of its tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "seed-map.md"

# What holds for every column and is not repeated in notes: how the documents write it -> how the page does.
SAME = {
    "timestamp with time zone": "timestamptz",
    "timezone('utc'::text, now())": "now()",
    "current_timestamp": "now()",
    "uuid_generate_v4()": "gen_random_uuid()",
    "::jsonb": "",
    "decimal": "numeric",
}


@dataclass(frozen=True)
class Home:
    """Where something is: `kind:name (check)`, or `values:name = a|b` with the values as the check."""

    kind: str
    name: str
    check: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name} ({self.check})"


@dataclass(frozen=True)
class Entry:
    """One row of the page: what a document has (table, item) and where it is here."""

    line: int
    document: str
    table: str
    item: str
    homes: tuple[Home, ...]
    note: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.document} {self.table}: {self.item}"

    @property
    def column(self) -> tuple[str, str] | None:
        """The document's column as (name, definition); None when the row is about something else."""
        found = re.fullmatch(r"`(\w+) \((.+)\)`", self.item)
        return (found[1], found[2]) if found else None


def read(text: str) -> list[Entry]:
    """Give the rows of all sections `## X name`. Raises ValueError for a row that does not have four cells."""
    entries: list[Entry] = []
    document = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("## "):
            document = line.split()[1]
        elif document and line.startswith("|") and not line.startswith(("|---", "| document's table")):
            cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if len(cells) != 4:
                raise ValueError(f"line {number} has {len(cells)} cells")
            table, item, homes, note = cells
            entries.append(Entry(number, document, table.strip("*"), item, tuple(read_homes(homes)), note))
    return entries


def read_homes(cell: str) -> list[Home]:
    """Read `kind:name (check)`; `kind:name`; … Raises ValueError for anything else but none."""
    if cell == "none":
        return []
    if not re.fullmatch(r"`[^`]+`(; `[^`]+`)*", cell):
        raise ValueError(f"homes are code, separated by semicolons: {cell}")
    homes = []
    for code in re.findall(r"`([^`]+)`", cell):
        found = re.fullmatch(r"(?P<kind>[a-z]+(?:>=)?):(?P<name>.+?)(?: = (?P<values>.+)| \((?P<check>.+)\))?", code)
        if not found:
            raise ValueError(f"not a home: {code}")
        homes.append(Home(found["kind"], found["name"], found["values"] or found["check"] or ""))
    return homes


def differences(definition: str, ours: str, *, types_only: bool) -> set[str]:
    """Say in what a document's column differs from ours: type, default, nullability."""
    for theirs, same in SAME.items():
        definition = definition.replace(theirs, same)
    their_parts, our_parts = definition.split(", "), ours.split(", ")
    found = set()
    if re.sub(r"^varchar(\(\d+\))?$", "text", their_parts[0]) != our_parts[0]:
        found.add("type")
    if types_only:
        return found
    if [p for p in their_parts if p.startswith("default ")] != [p for p in our_parts if p.startswith("default ")]:
        found.add("default")
    # A nullable column with a default may become not null.
    may_be_null = not {"not null", "primary key"} & set(their_parts)
    is_null = "null" in our_parts
    if is_null != may_be_null and not (may_be_null and "default " in definition):
        found.add("nullability")
    return found
