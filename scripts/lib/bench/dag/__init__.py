"""What projects cost: steps against plain tasks, and a step of a large project against one of a small."""

from collections.abc import Sequence

from bench.dag import shapes, size
from bench.options import Options
from bench.parts import part
from bench.queue import lab
from bench.results import Result
from localstack.instance import Instance


def run(stack: Instance, options: Options) -> Sequence[Result]:
    """Every part in turn; about a minute."""
    with lab.opened(stack, options) as found:
        with part("shapes"):
            results = shapes.run(found)
        with part("size"):
            results += size.run(found)
    return results
