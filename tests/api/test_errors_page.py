"""docs/errors.md is what frontends are written by: it must say neither less nor more than the system does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import psycopg
import pytest

from tests.stack import Stack
from workers.errors import ErrorCode

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/errors.md").read_text()
SQL = "\n".join(path.read_text() for path in sorted((ROOT / "supabase/migrations").glob("*.sql")))
HTTP_STATUS = {"42501": 403, "22023": 400, "23514": 400, "40001": 500}
WRITES = """
select table_name, privilege_type, column_name from information_schema.column_privileges
where table_schema = 'public' and grantee = 'authenticated' and privilege_type in ('INSERT', 'UPDATE')
"""
DELETES = """
select table_name from information_schema.table_privileges
where table_schema = 'public' and grantee = 'authenticated' and privilege_type = 'DELETE'
"""


def section(title: str) -> str:
    """Return what stands under a heading, up to the next one."""
    (text,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, flags=re.DOTALL | re.MULTILINE)
    return str(text)


def table_rows(title: str) -> list[list[str]]:
    """Return the cells of the first table under a heading, without its head."""
    table = section(title).split("|---", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[1:]]


def names(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


def raised() -> dict[str, int]:
    """Return the tokens that the migrations raise, with the HTTP status of their errcode."""
    pairs = re.findall(r"errcode = '(\w+)',\s*message = '(\w+)'", SQL)
    assert len(pairs) == len(re.findall(r"raise exception", SQL)), "a raise is not `errcode = …, message = 'token'`"
    return {token: HTTP_STATUS.get(code) or int(code.removeprefix("PT")) for code, token in pairs}


def test_the_page_lists_exactly_the_tokens_that_are_raised_with_their_status() -> None:
    rows = table_rows("Tokens that users meet") + table_rows("Tokens that only workers meet")
    listed = {message.strip("`"): int(status) for message, status, *_ in rows}
    assert len(listed) == len(rows)
    assert listed == raised()


def test_the_page_lists_exactly_the_error_codes_of_tasks() -> None:
    listed = {code.strip("`") for code, *_ in table_rows("Why a task failed")}
    assert listed == {*get_args(ErrorCode), "worker_lost", "input_expired", "withdrawn"}
    set_by_sql = set(re.findall(r"then '(\w+)' else '(\w+)' end,\s*error_message", SQL)[0])
    assert set_by_sql <= listed


def test_the_page_lists_exactly_what_a_client_may_write(stack: Stack) -> None:
    granted: dict[tuple[str, str], set[str]] = {}
    with psycopg.connect(stack.database_url) as connection:
        for table, privilege, column in connection.execute(WRITES):
            granted.setdefault((table, privilege), set()).add(column)
        deletable = {table for (table,) in connection.execute(DELETES)}
    written: dict[tuple[str, str], set[str]] = {}
    for table, insert, update, _ in table_rows("What a client may write"):
        (name,) = names(table)
        but = names(insert) - names(update) if update.startswith("all of these but") else names(update)
        written[name, "INSERT"], written[name, "UPDATE"] = names(insert), but
    assert {key: columns for key, columns in written.items() if columns} == granted
    assert {names(row[0]).pop() for row in table_rows("What a client may write") if row[3] == "yes"} == deletable


def test_the_page_lists_exactly_what_workers_say_of_schedules() -> None:
    said = set(re.findall(r'error=f"(\w+): ', (ROOT / "workers/schedules.py").read_text()))
    assert said
    assert {token.strip("`") for token, *_ in table_rows("Why a schedule makes no task")} == said


@pytest.mark.parametrize("link", re.findall(r"\]\(#([\w-]+)\)", PAGE))
def test_links_within_the_page_lead_somewhere(link: str) -> None:
    headings = re.findall(r"^## (.+)$", PAGE, flags=re.MULTILINE)
    assert link in {heading.lower().replace(" ", "-") for heading in headings}
