"""`scripts/bench trace`: what tracing costs, and how fast a whole tree of runs is read among a million steps."""

from collections.abc import Sequence

from bench.options import Options
from bench.queue import lab
from bench.results import Result
from bench.trace import cost, reading
from localstack.instance import Instance


def run(stack: Instance, options: Options) -> Sequence[Result]:
    """Both parts; about ten minutes."""
    with lab.opened(stack, options) as found:
        return [*cost.run(found), *reading.run(found)]
