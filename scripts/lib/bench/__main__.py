"""`python -m bench`: runs one benchmark on a stack of its own; called by scripts/bench."""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench import rls
from bench.results import Result, show
from localstack import instance
from localstack.instance import Instance

BENCHES: dict[str, Callable[[Instance], Sequence[Result]]] = {"rls": rls.run}
NAME = "bench"


@contextmanager
def stack() -> Iterator[Instance]:
    """A fresh stack with default durability, deleted afterwards."""
    localstack = [sys.executable, "-m", "localstack"]
    subprocess.run([*localstack, "up", "--name", NAME, "--reset"], check=True)
    try:
        yield instance.require(NAME)
    finally:
        subprocess.run([*localstack, "down", "--name", NAME, "--delete"], check=False)


def main() -> int:
    """0 when every target is reached, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures one thing, in ratios within one run.")
    parser.add_argument("bench", choices=sorted(BENCHES), metavar="NAME", help=f"one of: {', '.join(sorted(BENCHES))}")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write {bench, results: [{name, value, unit, target, ok}]}"
    )
    options = parser.parse_args()
    with stack() as found:
        results = BENCHES[options.bench](found)
    return 0 if show(options.bench, results, options.json) else 1


if __name__ == "__main__":
    sys.exit(main())
