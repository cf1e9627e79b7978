"""Every cell of access_matrix.md, tried through PostgREST by users who signed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.api.access_rows import KINDS
from tests.api.access_scene import JOINED, ROLES, Scene, furnish
from tests.api.helpers import Caller, Json, unique
from tests.stack import Stack

VERBS = {"r": "read", "i": "insert", "u": "update", "d": "delete"}
# Not allowed (401 without a user, 403 with one), not there for this caller, or changed by nobody.
REFUSALS = {401, 403, 404, 409}
# What Postgres says of most views before it looks at privileges.
NOT_UPDATABLE = "55000"
RELATIONS = "c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f')"


@dataclass(frozen=True)
class Cell:
    """One verb of one cell."""

    table: str
    whose: str
    role: str
    verb: str
    allowed: bool

    def __str__(self) -> str:
        return f"{self.table}-{self.role}-{self.verb}-{self.whose}"

    @property
    def target(self) -> str:
        """Whose the row is that this caller tries: `own` and `naming` depend on who asks."""
        if self.whose == "own":
            return self.role if self.role in {"outsider", *JOINED} else "bystander"
        if self.whose == "naming":
            return f"naming {self.role if self.role in JOINED else 'bystander'}"
        return self.whose


def tables_of_the_page() -> list[list[list[str]]]:
    """Read the page's tables: rows of cells, without the head."""
    tables: list[list[list[str]]] = []
    for line in Path(__file__).with_name("access_matrix.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("|---"):
            tables.append([])
        elif line.startswith("| ") and not line.startswith("| table |"):
            tables[-1].append([cell.strip() for cell in line.strip("|").split("|")])
    return tables


MATRIX, COLUMNS = tables_of_the_page()
CELLS = [
    Cell(table, whose, role, verb, letter in letters)
    for table, whose, *cells in MATRIX
    for role, letters in zip(ROLES, cells, strict=True)
    for letter, verb in VERBS.items()
]


TABLES = list(dict.fromkeys(cell.table for cell in CELLS))


@pytest.fixture(scope="module")
def scene(stack: Stack, http: httpx.Client) -> Iterator[Scene]:
    scene = furnish(stack, http, KINDS, dict.fromkeys((cell.table, cell.target) for cell in CELLS))
    yield scene
    scene.close()


def every_cell(verb: str, table: str, attempt: Callable[[Cell], None]) -> None:
    """Try all cells of a verb and a table; fail with all that are wrong."""
    wrong = []
    for cell in CELLS:
        if (cell.verb, cell.table) == (verb, table):
            try:
                attempt(cell)
            except AssertionError as error:
                wrong.append(f"{cell}: {error}")
    assert not wrong, "\n".join(wrong)


def send(caller: Caller, method: str, table: str, query: dict[str, str], body: Json | None = None) -> httpx.Response:
    """Send a request that asks for no rows back: what may be written need not be readable."""
    headers = {**caller.headers, "Prefer": "return=minimal"}
    return caller.http.request(method, f"/rest/v1/{table}", params=query, json=body, headers=headers)


def assert_refused(answer: httpx.Response) -> None:
    assert answer.status_code in REFUSALS or answer.json()["code"] == NOT_UPDATABLE, answer.text


# What a member had in the queue ends with the membership.
ENDED = {("active_tasks", "own", "ex_member"), ("queue_health", "own", "ex_member")}


def read(scene: Scene, cell: Cell) -> None:
    row = scene.row(cell.table, cell.target)
    columns = scene.kinds[cell.table].columns
    answer = scene.caller(cell.role).get(cell.table, select=columns, **scene.key(cell.table, row))
    if cell.allowed:
        assert answer.status_code == 200, answer.text
        assert len(answer.json()) == 1
    elif answer.status_code == 200:
        assert answer.json() == []
    else:
        assert_refused(answer)


def insert(scene: Scene, cell: Cell) -> None:
    body = scene.body(cell.table, cell.target, cell.role)
    before = scene.count(cell.table)
    answer = send(scene.caller(cell.role), "POST", cell.table, {}, body)
    if cell.allowed:
        assert answer.status_code == 201, answer.text
        assert scene.count(cell.table) == before + 1
    else:
        assert_refused(answer)
        assert scene.count(cell.table) == before


def update(scene: Scene, cell: Cell) -> None:
    row, change = scene.row(cell.table, cell.target), scene.kinds[cell.table].change
    before = scene.found(cell.table, row)
    body = change(unique("word")) if callable(change) else change
    answer = send(scene.caller(cell.role), "PATCH", cell.table, scene.key(cell.table, row), body)
    if cell.allowed:
        assert answer.status_code == 204, answer.text
        assert scene.found(cell.table, row) != before
    else:
        if answer.status_code != 204:
            assert_refused(answer)
        assert scene.found(cell.table, row) == before


def delete(scene: Scene, cell: Cell) -> None:
    row = scene.make(cell.table, cell.target) if cell.allowed else scene.row(cell.table, cell.target)
    before = scene.found(cell.table, row)
    assert len(before) == (0 if (cell.table, cell.whose, cell.role) in ENDED else 1)
    answer = send(scene.caller(cell.role), "DELETE", cell.table, scene.key(cell.table, row))
    if cell.allowed:
        assert answer.status_code == 204, answer.text
        assert scene.found(cell.table, row) == []
    else:
        if answer.status_code != 204:
            assert_refused(answer)
        assert scene.found(cell.table, row) == before


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("attempt", [read, insert, update, delete], ids=lambda attempt: attempt.__name__)
def test_everybody_may_do_what_the_page_says(scene: Scene, attempt: Callable[[Scene, Cell], None], table: str) -> None:
    every_cell(attempt.__name__, table, lambda cell: attempt(scene, cell))


def test_the_matrix_names_every_table_and_view(stack: Stack) -> None:
    with psycopg.connect(stack.database_url) as connection:
        names = {name for (name,) in connection.execute(f"select c.relname from pg_class c where {RELATIONS}")}
    assert {table for table, *_ in MATRIX} == names
    assert set(KINDS) == names


def test_the_page_names_every_column_that_clients_write_or_do_not_read(stack: Stack) -> None:
    query = f"""
        select c.relname, p.name, array_agg(a.attname::text)
        from pg_class c
        join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        cross join (values ('insert', true), ('update', true), ('select', false)) as p (name, granted)
        where {RELATIONS} and c.relname not in ('workers', 'retention_status')
          and has_column_privilege('authenticated', c.oid, a.attnum, p.name) = p.granted
        group by c.relname, p.name"""
    with psycopg.connect(stack.database_url) as connection:
        granted = {(table, privilege): set(columns) for table, privilege, columns in connection.execute(query)}
    privileges = {"insert": "insert", "update": "update", "read, not": "select"}
    assert {(table, privileges[name]): set(columns.split(", ")) for table, name, columns in COLUMNS} == granted


def test_anon_has_no_privilege_on_any_table(stack: Stack) -> None:
    query = f"""
        select c.relname from pg_class c
        where {RELATIONS} and (has_any_column_privilege('anon', c.oid, 'select, insert, update, references')
          or has_table_privilege('anon', c.oid, 'delete, truncate, trigger'))"""
    with psycopg.connect(stack.database_url) as connection:
        assert connection.execute(query).fetchall() == []
