"""Drops tables of the local stack's database, with their rows; ./scripts/reset brings them back, empty."""

import argparse
import os
import sys
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from localstack import instance
from localstack.errors import StackError
from localstack.instance import DEFAULT_NAME, Instance


def main() -> int:
    """0 when the tables are gone (or listed), 1 when something was refused; then nothing is dropped."""
    parser = argparse.ArgumentParser(prog="scripts/drop-table", description=__doc__)
    parser.add_argument("--name", default=DEFAULT_NAME, help="instance of the local stack (default: %(default)s)")
    parser.add_argument(
        "--table", action="append", default=[], metavar="X", help="a table of schema public; may be repeated"
    )
    parser.add_argument("--list", action="store_true", help="only list the tables")
    options = parser.parse_args()
    if not options.table and not options.list:
        parser.error("name a table with --table X, or use --list")
    try:
        stack = instance.require(options.name)
        refuse_elsewhere(stack)
        with psycopg.connect(stack.database_url()) as connection:
            tables = public_tables(connection)
            if options.list:
                print(*tables, sep="\n")
                return 0
            drop(connection, options.table, tables)
    except (StackError, psycopg.OperationalError) as error:
        print(f"drop-table: {error}", *filter(None, [getattr(error, "hint", None)]), sep="\n", file=sys.stderr)
        return 1
    print("drop-table: ./scripts/reset rebuilds the database from the migrations")
    return 0


def refuse_elsewhere(stack: Instance) -> None:
    """Raises StackError when the environment says that the caller has another database in mind."""
    elsewhere = os.environ.get("DATABASE_URL")
    if elsewhere and elsewhere != stack.database_url():
        raise StackError(
            f"DATABASE_URL names {urlsplit(elsewhere).netloc.rpartition('@')[2]}, not the stack {stack.name!r}",
            "nothing was dropped: this command only knows the local stack; unset DATABASE_URL to use it",
        )


def public_tables(connection: psycopg.Connection) -> list[str]:
    """Names of the tables in schema public, sorted."""
    rows = connection.execute("select tablename from pg_tables where schemaname = 'public' order by 1").fetchall()
    return [str(row[0]) for row in rows]


def drop(connection: psycopg.Connection, wanted: list[str], known: list[str]) -> None:
    """Drops the tables in one transaction and says how many rows went; raises StackError for an unknown one."""
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise StackError(
            f"there is no table {', '.join(unknown)}: nothing was dropped", "see ./scripts/drop-table --list"
        )
    for table in dict.fromkeys(wanted):
        name = sql.Identifier("public", table)
        count = connection.execute(sql.SQL("select count(*) from {}").format(name)).fetchone()
        connection.execute(sql.SQL("drop table {} cascade").format(name))
        print(f"drop-table: dropped {table} ({count[0] if count else 0} rows)")


if __name__ == "__main__":
    sys.exit(main())
