"""`python -m bench`: runs one benchmark on a stack of its own; called by scripts/bench."""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

from bench import agents, dag, git, rls, trace
from bench.options import Options
from bench.queue import history, overview, snapshot, soak
from bench.results import Result, show
from localstack import instance
from localstack.instance import Instance

BENCHES: dict[str, Callable[[Instance, Options], Sequence[Result]]] = {
    "agents": agents.run,
    "dag": dag.run,
    "git": git.run,
    "history": history.run,
    "queue": overview.run,
    "rls": rls.run,
    "snapshot": snapshot.run,
    "soak": soak.run,
    "trace": trace.run,
}
EPILOG = """\
  rls       what row-level security costs, at 1,000,000 tasks of 1,000 organizations
  queue     throughput, enqueueing, pick-up latency, processor time and memory, against pgqueuer, procrastinate, raw SQL
  agents    100 api agents at once, what the door costs a request, 50 streams of 100 chunks a second
  git       a sync of 1,000 unchanged agents' files beside a plain clone of their repository
  dag       1,000 steps of projects against as many tasks; a step of a project of 10,000 against one of 10
  history   claims after 1,000,000 finished tasks, ten workers on 1,000 organizations, one task behind 100,000 others
  soak      memory of a worker over 1,000,000 no-op tasks
  trace     what recording steps costs no-op tasks, a tree of runs among 1,000,000 steps, claims beside retention
  snapshot  a fixed rate with and without a long-running snapshot beside it

The peers of `queue` are installed from PyPI into .stack/bench-peers, as scripts/lib/bench/queue/peers.lock says.
"""


@contextmanager
def stack() -> Iterator[Instance]:
    """A fresh stack with default durability, deleted afterwards."""
    name = f"bench-{os.getpid()}"
    localstack = [sys.executable, "-m", "localstack"]
    environment = {variable: value for variable, value in os.environ.items() if variable != "STACK_FSYNC"}
    try:
        subprocess.run([*localstack, "up", "--name", name, "--reset"], check=True, env=environment)
        yield instance.require(name)
    finally:
        subprocess.run([*localstack, "down", "--name", name, "--delete"], check=False)


def main() -> int:
    """0 when every target is reached, 1 otherwise."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measures one thing, in ratios within one run, on a throw-away stack.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bench", choices=sorted(BENCHES), metavar="NAME", help=f"one of: {', '.join(sorted(BENCHES))}")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write {bench, results: [{name, value, unit, target, ok}]}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="few rows, no targets: shows only that the bench works (not for rls)"
    )
    parser.add_argument("--minutes", type=_minutes, metavar="N", help="snapshot: how long each half runs (default: 1)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _terminated)
    chosen = Options(quick=options.quick, minutes=options.minutes)
    with stack() as found:
        results = BENCHES[options.bench](found, chosen)
    if options.quick:
        results = [replace(result, target=None, ok=None) for result in results]
    return 0 if show(options.bench, results, options.json) else 1


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes <= 60:
        raise argparse.ArgumentTypeError("must be more than 0, and at most 60")
    return minutes


def _terminated(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
