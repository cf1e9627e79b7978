"""What every bench of the queue works with: a prepared stack, and the hands on it."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from bench.options import Options
from bench.queue.database import Database
from bench.queue.member import Member
from bench.queue.meter import Meter
from localstack.instance import Instance


@dataclass(frozen=True)
class Lab:
    """The stack, what the caller chose, the database, a signed-in user, and the services' processor time."""

    stack: Instance
    options: Options
    database: Database
    member: Member
    meter: Meter


@contextmanager
def opened(stack: Instance, options: Options) -> Iterator[Lab]:
    """A lab on a fresh stack, its connections closed afterwards."""
    with closing(Database(stack)) as database, closing(Member(stack)) as member:
        database.prepare()
        yield Lab(stack, options, database, member, Meter(stack))
