"""Connections kept from test to test: the first use of a function costs a new one twenty times what later ones cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

Connection = psycopg.Connection[dict[str, Any]]


class Spare:
    """Connections that were used and are as new, but that they know the catalog and the functions: that costs most."""

    def __init__(self, connect: Callable[[str], Connection]) -> None:
        self._connect = connect
        self._connections: dict[str, list[Connection]] = {}

    def take(self, dsn: str) -> Connection:
        """Give a connection that nobody has."""
        while spare := self._connections.get(dsn):
            connection = spare.pop()
            try:
                connection.execute("select")
            except psycopg.OperationalError:
                connection.close()  # Its server was stopped, or somebody ended it.
            else:
                return connection
        return self._connect(dsn)

    def give_back(self, dsn: str, connection: Connection) -> None:
        """Keep a connection for others, unless something of it is left open."""
        if connection.info.transaction_status != TransactionStatus.IDLE:
            connection.close()
            return
        connection.execute("reset all; unlisten *; discard temp; select pg_advisory_unlock_all()")
        self._connections.setdefault(dsn, []).append(connection)

    def close(self) -> None:
        """Let all of them go."""
        for connections in self._connections.values():
            for connection in connections:
                connection.close()
        self._connections.clear()
