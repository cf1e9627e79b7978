"""`scripts/bench trace`: what tracing costs, a tree of runs among a million steps, and claims beside retention."""

from collections.abc import Sequence

from bench.options import Options
from bench.queue import lab
from bench.results import Result
from bench.trace import cost, reading, retention
from localstack.instance import Instance


def run(stack: Instance, options: Options) -> Sequence[Result]:
    """All parts; about fifteen minutes."""
    with lab.opened(stack, options) as found:
        return [*cost.run(found), *reading.run(found), *retention.run(found)]
