"""Processor time of the stack's services, each with all its processes."""

import psutil

from localstack import processes, services
from localstack.instance import Instance

SERVICES = ("postgres", "postgrest", "gateway")


class Meter:
    """Reads how long the services have computed, in seconds since they started."""

    def __init__(self, stack: Instance) -> None:
        self._found = processes.running(services.all_services(stack))

    def read(self) -> dict[str, float]:
        """Seconds by service, backends that have ended included."""
        return {name: _of_tree(self._found[name]) for name in SERVICES}

    def since(self, before: dict[str, float]) -> dict[str, float]:
        """Seconds by service since an earlier reading."""
        now = self.read()
        return {name: now[name] - before[name] for name in SERVICES}


def _of_tree(root: psutil.Process) -> float:
    """A child's time is its own while it lives, and its parent's once it has ended."""
    return sum(_of(process) for process in [root, *root.children(recursive=True)])


def _of(process: psutil.Process) -> float:
    try:
        return float(sum(process.cpu_times()[:4]))
    except psutil.NoSuchProcess:
        return 0.0
