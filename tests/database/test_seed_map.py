"""Every row of docs/seed-map.md is true of the database; every table and column of the five documents has a row."""

from __future__ import annotations

import re

import pytest

from tests.database.kit import Connection
from tests.database.seed_catalogue import Catalogue
from tests.database.seed_documents import COLUMNS, NAMES
from tests.database.seed_map import PAGE, Entry, Home, differences, read, read_homes

ENTRIES = read(PAGE.read_text())
DESCRIBED = [entry for entry in ENTRIES if entry.column and entry.homes and entry.homes[0].kind == "column"]


@pytest.fixture(scope="module")
def catalogue(connection: Connection) -> Catalogue:
    return Catalogue(connection)


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_each_home_is_as_the_page_says(catalogue: Catalogue, entry: Entry) -> None:
    assert [problem for home in entry.homes if (problem := catalogue.problem(home))] == []


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if not entry.homes], ids=str)
def test_what_has_no_home_has_a_reason(entry: Entry) -> None:
    assert entry.note


@pytest.mark.parametrize("entry", DESCRIBED, ids=str)
def test_a_column_that_differs_from_the_documents_has_a_reason(entry: Entry) -> None:
    assert entry.column
    # D gives types only.
    found = differences(entry.column[1], entry.homes[0].check, types_only=entry.document == "D")
    assert entry.note or not found


@pytest.mark.parametrize(("document", "table"), [(d, t) for d, tables in COLUMNS.items() for t in tables])
def test_each_column_of_a_document_has_a_row(document: str, table: str) -> None:
    rows = [e for e in ENTRIES if (e.document, e.table) == (document, table)]
    assert any(e.item.startswith("table") for e in rows)
    assert sorted(e.column[0] for e in rows if e.column) == sorted(COLUMNS[document][table].split())


@pytest.mark.parametrize("document", NAMES)
def test_each_name_of_a_document_stands_in_a_row(document: str) -> None:
    code = {c for e in ENTRIES if e.document == document for c in re.findall(r"`([^`]+)`", e.item)}
    missing = [name for name in NAMES[document] if not any(re.match(re.escape(name) + r"(\W|$)", c) for c in code)]
    assert missing == []


def test_no_row_stands_twice() -> None:
    keys = [(e.document, e.table, e.item) for e in ENTRIES]
    assert sorted(key for key in set(keys) if keys.count(key) > 1) == []


@pytest.mark.parametrize(
    "home",
    [
        Home("room", "agents", ""),
        Home("table>=", "agents", ""),
        Home("table", "nothing", ""),
        Home("table", "auth.users", "no such property"),
        Home("column", "tasks.progress", "text"),
        Home("column", "tasks.progress", "integer, default 1"),
        Home("values", "agents.agent_type", "context|api"),
        Home("values>=", "agents.agent_type", "context|api|other"),
        Home("values", "agents.name", "context"),
        Home("constraint", "users.users_email_key", "unique (id)"),
        Home("index", "agents.idx_agents_tags", "tags"),
        Home("index", "agents.idx_agents_active", "status"),
        Home("trigger", "agents.set_updated_at", "after update"),
        Home("function", "private.nothing", ""),
        Home("policy", 'tasks."Everybody reads tasks"', ""),
        Home("grant", "tasks.authenticated", "select, truncate"),
        Home("seed", "agents.blog-post-writer", "agent_type = api"),
        Home("migration", "20250120000000_nothing.sql", ""),
        Home("file", "supabase/config.toml", "port = 1"),
    ],
    ids=str,
)
def test_a_home_that_is_not_there_is_noticed(catalogue: Catalogue, home: Home) -> None:
    assert catalogue.problem(home)


@pytest.mark.parametrize(
    ("definition", "ours", "found"),
    [
        ("varchar(50), not null", "text, not null", set()),
        (
            "timestamp with time zone, default timezone('utc'::text, now())",
            "timestamptz, not null, default now()",
            set(),
        ),
        ("jsonb, default '{}'", "jsonb, null, default '{}'", set()),
        ("integer, default 0", "bigint, not null, default 0", {"type"}),
        ("text, not null", "text, null", {"nullability"}),
        ("text", "text, not null, default 'active'", {"default", "nullability"}),
        ("text, default 'a'", "text, not null, default 'b'", {"default"}),
    ],
)
def test_differences_of_columns_are_noticed(definition: str, ours: str, found: set[str]) -> None:
    assert differences(definition, ours, types_only=False) == found


@pytest.mark.parametrize("cell", ["", "table:agents", "`table:agents`, `table:users`", "`agents`", "`table:`"])
def test_a_cell_that_is_no_list_of_homes_is_refused(cell: str) -> None:
    with pytest.raises(ValueError, match="home"):
        read_homes(cell)
