"""The ports of one instance: the API's, and the others at fixed distances from it."""

import random
import socket
from dataclasses import dataclass

from localstack.errors import StackError

DEFAULT_API_PORT = 6010
_RANGE = range(20_000, 32_000)  # below the ports Linux gives to outgoing connections


@dataclass(frozen=True)
class Ports:
    """One port for each listener, all on 127.0.0.1."""

    api: int

    @property
    def database(self) -> int:
        """Not 6012: config.toml names that one, and the CLI would then look for Docker."""
        return self.api + 12

    @property
    def rest(self) -> int:
        """PostgREST."""
        return self.api + 13

    @property
    def rest_admin(self) -> int:
        """PostgREST's own health check."""
        return self.api + 14

    @property
    def auth(self) -> int:
        """Auth."""
        return self.api + 15

    def all(self) -> tuple[int, ...]:
        """Every port that the stack listens on."""
        return (self.api, self.database, self.rest, self.rest_admin, self.auth)


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def pick() -> Ports:
    """Ports that are all free now."""
    for _ in range(200):
        ports = Ports(random.choice(_RANGE))  # noqa: S311 - not a secret
        if all(is_free(port) for port in ports.all()):
            return ports
    raise StackError("no free ports found between 20000 and 32000")


def parse(value: str) -> int:
    """A port number from STACK_PORT or --port; 0 means: choose."""
    if not value.isdecimal() or not (int(value) == 0 or 1024 <= int(value) <= 65_500):
        raise StackError(f"STACK_PORT is {value!r}", "it must be 0 (choose free ports) or a port from 1024 to 65500")
    return int(value)
