"""Says what a long benchmark is doing and how long each part took."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def part(name: str) -> Iterator[None]:
    """Prints the name, and the seconds when the part is over, on standard error."""
    print(f"bench: {name} …", end=" ", file=sys.stderr, flush=True)
    began = time.monotonic()
    try:
        yield
    finally:
        print(f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
