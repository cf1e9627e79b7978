"""What the database holds, read once, and whether a home of docs/seed-map.md is among it."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.database.kit import Connection
from tests.database.seed_map import ROOT, Home

# Each query gives (name, fact). Names leave out the schema public; facts are lower case but for seeds.
NAME = "case when n.nspname = 'public' then '' else n.nspname || '.' end || c.relname"
RELATIONS = "from pg_class c join pg_namespace n on n.oid = c.relnamespace and n.nspname !~ '^(pg_|information_schema)'"
QUERIES = {
    "table": f"""
      select {NAME}, case when c.relrowsecurity then 'rls' else '' end
      {RELATIONS} where c.relkind in ('r', 'p')""",
    "view": f"select {NAME}, '' {RELATIONS} where c.relkind = 'v'",
    "column": f"""
      select {NAME} || '.' || a.attname, concat_ws(', ', format_type(a.atttypid, a.atttypmod),
        case when c.relkind <> 'v' then case when a.attnotnull then 'not null' else 'null' end end,
        case when a.attgenerated <> '' then 'generated' else 'default ' || pg_get_expr(d.adbin, d.adrelid) end)
      {RELATIONS} join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum where c.relkind in ('r', 'p', 'v')""",
    "constraint": f"""
      select {NAME} || '.' || k.conname, pg_get_constraintdef(k.oid)
      {RELATIONS} join pg_constraint k on k.conrelid = c.oid and k.convalidated""",
    "values": f"""
      select {NAME} || '.' || a.attname, pg_get_constraintdef(k.oid)
      {RELATIONS} join pg_constraint k on k.conrelid = c.oid and k.contype = 'c' and k.convalidated
      join pg_attribute a on a.attrelid = c.oid and array[a.attnum] = k.conkey
      where pg_get_constraintdef(k.oid) ~ '^CHECK \\(\\(\\w+ = ANY \\(ARRAY\\['""",
    "index": f"""
      select {NAME} || '.' || i.relname, pg_get_indexdef(x.indexrelid)
      {RELATIONS} join pg_index x on x.indrelid = c.oid and x.indisvalid join pg_class i on i.oid = x.indexrelid""",
    "trigger": f"""
      select {NAME} || '.' || t.tgname, pg_get_triggerdef(t.oid)
      {RELATIONS} join pg_trigger t on t.tgrelid = c.oid and t.tgenabled = 'O' and not t.tgisinternal""",
    "function": """
      select case when n.nspname = 'public' then '' else n.nspname || '.' end || p.proname, ''
      from pg_proc p join pg_namespace n on n.oid = p.pronamespace and n.nspname in ('public', 'private', 'archive')""",
    "policy": f"""
      select {NAME} || '.' || '"' || p.polname || '"', ''
      {RELATIONS} join pg_policy p on p.polrelid = c.oid""",
    "grant": f"""
      select {NAME} || '.' || r.rolname, string_agg(a.privilege_type, ', ')
      {RELATIONS} cross join lateral aclexplode(c.relacl) a join pg_roles r on r.oid = a.grantee
      group by 1, n.nspname, c.relname, r.rolname""",
    "seed": """
      select 'organizations.' || o.slug, to_jsonb(o)::text from public.organizations o
      union all select 'agents.' || a.slug, to_jsonb(a)::text from public.agents a""",
}


def simplify(kind: str, fact: str) -> str:
    """Say a fact as the page does: lower case, without casts and the schema public; an index without its name."""
    if kind in ("values", "seed"):
        return fact
    fact = re.sub(r"::[a-z ]+(\[\])?", "", fact).replace("public.", "").lower()
    fact = fact.replace("timestamp with time zone", "timestamptz").replace("character varying", "varchar")
    if kind == "index":
        fact = re.sub(r"create (unique )?index .+? using (?:btree )?", r"\1", fact)
        fact = re.sub(r"\((.+?)\)( where |$)", r"\1\2", fact, count=1)
        fact = re.sub(r" where \((.+)\)$", r" where \1", fact)
    return fact


class Catalogue:
    """The database's objects by kind and name, each with what the page may say of it."""

    def __init__(self, connection: Connection) -> None:
        """Read everything in one query for each kind."""
        self.facts: dict[str, dict[str, str]] = {}
        for kind, query in QUERIES.items():
            rows = connection.execute(f"select q.* from ({query}) as q (name, fact)").fetchall()
            self.facts[kind] = {row["name"]: simplify(kind, row["fact"]) for row in rows}

    def problem(self, home: Home) -> str | None:
        """Say what is wrong with a home; None when it is as the page says."""
        if home.kind in ("file", "migration"):
            return problem_of_file(home)
        kind = home.kind.removesuffix(">=")
        if kind not in self.facts or kind not in (home.kind, "values"):
            return f"{home.kind} is no kind of home"
        if home.name not in self.facts[kind]:
            return f"there is no {kind} {home.name}"
        fact = self.facts[kind][home.name]
        if kind == "values":
            return problem_of_values(home, set(re.findall(r"'([^']*)'", fact)))
        if kind == "seed":
            return problem_of_seed(home, json.loads(fact))
        if kind in ("constraint", "trigger"):
            fits = home.check in fact
        elif kind == "index":
            fits = home.check in ("", fact)
        else:
            fits = set(home.check.split(", ")) <= {*fact.split(", "), ""}
        return None if fits else f"{kind} {home.name} is ({fact}), not ({home.check})"


def problem_of_file(home: Home) -> str | None:
    """Look for the file, and the text in it."""
    path = ROOT / ("supabase/migrations" if home.kind == "migration" else "") / home.name
    if not path.exists():
        return f"there is no {home.kind} {home.name}"
    return None if not home.check or home.check in path.read_text() else f"{home.name} does not say {home.check}"


def problem_of_values(home: Home, found: set[str]) -> str | None:
    """Compare the values that a check constraint lists with the page's."""
    wanted = set(home.check.split("|"))
    fits = wanted <= found if home.kind == "values>=" else wanted == found
    return None if fits else f"{home.name} may be {sorted(found)}, not {sorted(wanted)}"


def problem_of_seed(home: Home, row: Any) -> str | None:
    """Follow each path of `path = value, …` into the seeded row."""
    for part in filter(None, home.check.split(", ")):
        path, wanted = part.split(" = ")
        value = row
        for key in path.split("."):
            value = value[int(key) if isinstance(value, list) else key]
        if str(value) != wanted:
            return f"{home.name} has {path} = {value}, not {wanted}"
    return None
