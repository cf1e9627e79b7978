"""The place where the access matrix is tried: one organization, everybody who may come to it, its rows made on demand.

`whose` says whose a row is: a person's (by role), or `colleague`, `shared`, `developers`, `naming <person>`,
`organization` and `platform`, as access_matrix.md explains them. Where a table names a user, all but the first are the
colleague's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import httpx
import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from tests.api.helpers import Caller, Json, caller, ok, sign_up, unique
from tests.stack import Stack

MEMBERS = ("viewer", "member", "developer", "admin", "owner")
FORMER = ("ex_member", "suspended")
ROLES = ("anon", "outsider", *MEMBERS, *FORMER, "service_role")
# What they were before: admins lose more than others could.
JOINED = {
    **{role: role for role in MEMBERS},
    **dict.fromkeys(FORMER, "admin"),
    **dict.fromkeys(("colleague", "bystander"), "member"),
}


@dataclass(frozen=True)
class Kind:
    """How the rows of a table or view are made, found and changed."""

    row: Callable[[Scene, str], Json]
    """What a client sends to insert such a row; for a view, the column that finds it."""
    change: Json | Callable[[str], Json] = field(default_factory=dict)
    """What an update sends, given a word that no other has."""
    user: str = ""
    """The column of the user to whom the row belongs; clients send it only to write in another's name."""
    server: Callable[[Scene, str], Json] = lambda _scene, _whose: {}
    """Further columns that only service_role sends."""
    key: tuple[str, ...] = ("id",)
    columns: str = "*"
    make: Callable[[Scene, str], Json] | None = None
    """Where rows are not simply inserted: makes one and returns it."""


@dataclass
class Scene:
    """The organization `slug`, the callers by role, and the rows made so far."""

    http: httpx.Client
    anon_key: str
    database: psycopg.Connection
    """A connection as service_role, by which is looked at what became of a request: it costs a tenth of another."""
    operator: Caller
    people: dict[str, Caller]
    slug: str
    kinds: Mapping[str, Kind]
    made: dict[tuple[str, str], Json] = field(default_factory=dict)

    def caller(self, role: str) -> Caller:
        return {"anon": caller(self.http, self.anon_key), "service_role": self.operator}.get(role) or self.people[role]

    def user_id(self, whose: str) -> str:
        """Return the user to whom such a row belongs."""
        return self.people[whose if whose in self.people else "colleague"].id

    def named_id(self, whose: str) -> str:
        """Return the user whom such a row names: that of `naming <person>`, else a bystander."""
        return self.people[whose.removeprefix("naming ") if whose.startswith("naming ") else "bystander"].id

    def newcomer_id(self) -> str:
        """Return a new user, who never signs in: a row as Auth writes it, without the work of hashing a password."""
        query = "insert into auth.users (id, email) values (gen_random_uuid(), %s) returning id::text"
        with self.database.transaction():
            self.database.execute("set local role none")
            row = self.database.execute(query, [f"{unique('user')}@example.com"]).fetchone()
        assert row is not None
        return str(row[0])

    def row(self, table: str, whose: str) -> Json:
        """Return the row that all tests share."""
        if (table, whose) not in self.made:
            self.made[table, whose] = self.make(table, whose)
        return self.made[table, whose]

    def make(self, table: str, whose: str) -> Json:
        """Make one more such row."""
        make = self.kinds[table].make
        return make(self, whose) if make else self.insert(table, self.body(table, whose, "service_role"))

    def insert(self, table: str, body: Json) -> Json:
        """Insert a row as service_role and return it."""
        inserted: Json = ok(self.operator.insert(table, body))[0]
        return inserted

    def delete(self, table: str, **query: str) -> None:
        ok(self.http.request("DELETE", f"/rest/v1/{table}", params=query, headers=self.operator.headers))

    def body(self, table: str, whose: str, role: str) -> Json:
        """Return what this caller sends to insert such a row."""
        kind = self.kinds[table]
        body = kind.row(self, whose)
        if role == "service_role":
            return body | kind.server(self, whose) | ({kind.user: self.user_id(whose)} if kind.user else {})
        return body | ({kind.user: self.user_id(whose)} if kind.user and whose == "colleague" else {})

    def key(self, table: str, row: Json) -> dict[str, str]:
        """Return the filter that finds exactly this row."""
        return {column: f"eq.{row[column]}" for column in self.kinds[table].key}

    def found(self, table: str, row: Json) -> list[Json]:
        """Return the row as it is now, in a list; an empty list when it is gone."""
        kind = self.kinds[table]
        columns = sql.SQL(", ").join(map(sql.Identifier, kind.columns.split(", ")))
        query = sql.SQL("select to_jsonb(r) - 'updated_at' from (select {} from public.{} t where {}) r").format(
            sql.SQL("*") if kind.columns == "*" else columns,
            sql.Identifier(table),
            sql.SQL(" and ").join(sql.SQL("to_jsonb(t.{}) = %s").format(sql.Identifier(name)) for name in kind.key),
        )
        return [found for (found,) in self.database.execute(query, [Jsonb(row[name]) for name in kind.key])]

    def count(self, table: str) -> int:
        """Return how many rows there are."""
        query = sql.SQL("select count(*) from public.{}").format(sql.Identifier(table))
        row = self.database.execute(query).fetchone()
        assert row is not None
        return int(row[0])

    def close(self) -> None:
        self.database.close()


def furnish(stack: Stack, http: httpx.Client, kinds: Mapping[str, Kind], rows: Iterable[tuple[str, str]]) -> Scene:
    """Bring everybody together, make the rows while all are members, then remove the one and suspend the other."""
    operator = caller(http, stack.service_role_key)
    database = psycopg.connect(stack.database_url, autocommit=True)
    database.execute("""set role service_role; set request.jwt.claims = '{"role": "service_role"}'""")
    people = {name: sign_up(http, stack.anon_key) for name in ("outsider", *JOINED)}
    scene = Scene(http, stack.anon_key, database, operator, people, unique("org"), kinds)
    scene.made["organizations", "organization"] = {"slug": scene.slug}
    ok(people["outsider"].rpc("create_organization", slug=unique("other"), name="Another"))
    ok(people["owner"].rpc("create_organization", slug=scene.slug, name="The organization"))
    for name, role in JOINED.items():
        if name != "owner":
            member = {"organization_slug": scene.slug, "user_id": people[name].id, "role": role}
            scene.insert("organization_members", member)
    for table, whose in rows:
        scene.row(table, whose)
    leaver = {"organization_slug": scene.slug, "user_id": people["ex_member"].id}
    ok(people["owner"].rpc("remove_member", **leaver))
    ok(operator.update("users", {"status": "suspended"}, id=f"eq.{people['suspended'].id}"))
    return scene
