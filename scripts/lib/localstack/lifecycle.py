"""Bringing a stack up and down. Every function here expects the caller to hold the instance's lock."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from localstack import instance as instances
from localstack import ports, postgres, processes, services
from localstack.errors import StackError
from localstack.instance import Instance
from localstack.ports import Ports
from localstack.processes import Service

_PATIENCE = 2.0  # seconds that a service already running gets to answer before it is started anew


def ensure(name: str, port_option: str | None) -> Instance:
    """The saved or a new instance, on the ports that are wanted now; what runs on other ports is stopped."""
    wanted = instances.wanted_ports(name, port_option)
    instance = instances.load(name)
    if instance is None:
        return instances.create(name, wanted or ports.pick())
    if wanted is None:
        idle = not processes.running(services.all_services(instance))
        taken = idle and not all(ports.is_free(port) for port in instance.ports.all())
        wanted = ports.pick() if taken else instance.ports
    if wanted != instance.ports:
        for service in services.all_services(replace(instance, ports=wanted)):
            _require_free(service, spare=instance.ports.all())
        stop_all(instance)
        instance = instance.move_to(wanted)
    return instance


@contextmanager
def started(instance: Instance) -> Iterator[list[str]]:
    """Starts what is not running and healthy, and yields the names started.

    When that fails, or the block is interrupted, they are stopped again; after an error in the block they stay.
    """
    planned = services.all_services(instance)
    before = set(processes.running(planned))
    all_up = False
    try:
        well = len(before) == len(planned) and all(service.healthy() for service in planned)
        names = [] if well else _start_missing(instance, planned)
        all_up = True
        yield names
    except BaseException as error:
        if not (all_up and isinstance(error, Exception)):
            for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(name, signal.SIG_IGN)  # a second Ctrl-C would leave orphans
            stop_all(instance, only={service.name for service in planned} - before)
        raise


def stop_all(instance: Instance, only: set[str] | None = None) -> list[str]:
    """Stops the services that run, the last started first; returns their names."""
    planned = services.all_services(instance)
    found = processes.running(planned)
    stopped = []
    for service in reversed(planned):
        if service.name in found and (only is None or service.name in only):
            processes.stop(service, found[service.name])
            stopped.append(service.name)
    return stopped


def _start_missing(instance: Instance, planned: tuple[Service, ...]) -> list[str]:
    services.write_configuration(instance)
    database, *others = planned
    started = []
    if database.name not in processes.running([database]):
        # Their connections died with it, and PostgREST may wait half a minute before it tries again.
        stop_all(instance)
        postgres.prepare(instance)
        database = postgres.service(instance)  # its owner is known only now that the cluster exists
        _launch([database])
        started.append(database.name)
    elif not processes.becomes_healthy(database, processes.START_SECONDS):
        raise StackError("postgres runs but does not answer", f"see {database.log}, or ./scripts/stack down")
    postgres.bootstrap(instance)
    missing = [service for service in others if not _is_well(service)]
    _launch(missing)
    return started + [service.name for service in missing]


def _is_well(service: Service) -> bool:
    """Whether a service runs and answers; one that runs without answering is stopped."""
    found = processes.running([service]).get(service.name)
    if found is None:
        return False
    if processes.becomes_healthy(service, _PATIENCE):
        return True
    processes.stop(service, found)
    return False


def _launch(wanted: list[Service]) -> None:
    for service in wanted:
        _require_free(service)
    children = [(service, processes.start(service)) for service in wanted]
    for service, child in children:
        processes.wait_until_healthy(service, child)


def _require_free(service: Service, spare: tuple[int, ...] = ()) -> None:
    """Raises StackError for a port of the service that somebody has, apart from the ports to spare: our own."""
    for port in service.ports:
        if port not in spare and not ports.is_free(port):
            raise StackError(
                f"port {port}, which {service.name} needs, is taken by {processes.listener(port)}",
                f"choose another: set STACK_PORT={_suggestion().api} in .env or the environment (0 takes any free one)",
            )


def _suggestion() -> Ports:
    for api in range(ports.DEFAULT_API_PORT + 100, 20_000, 100):
        if all(ports.is_free(port) for port in Ports(api).all()):
            return Ports(api)
    return ports.pick()
