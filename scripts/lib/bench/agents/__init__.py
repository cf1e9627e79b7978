"""How fast agents are: many requests at once from one worker, what the door costs each, and text that streams."""

from collections.abc import Sequence

from bench.agents import door, endpoint, requests, streams
from bench.options import Options
from bench.parts import part
from bench.queue import lab
from bench.results import Result
from localstack.instance import Instance


def run(stack: Instance, options: Options) -> Sequence[Result]:
    """Every part in turn; about a minute."""
    with lab.opened(stack, options) as found:
        with part("api agents"), endpoint.serving(requests.ANSWER_SECONDS) as url:
            results = requests.run(found, url)
        with part("door"), endpoint.serving(0.0) as url:
            results += door.run(options, url)
        with part("streams"):
            results += streams.run(found)
    return results
