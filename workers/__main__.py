"""The command `python -m workers`: reads the settings, builds a worker, runs it; or works on secrets and tokens."""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from structlog.typing import FilteringBoundLogger

from workers import secret_commands, token_command
from workers.assembly import assemble
from workers.backend import connect
from workers.errors import BackendError, SettingsError
from workers.job import Handler
from workers.keyring import split_keys
from workers.logs import build_logger
from workers.metrics import Metrics
from workers.metrics_server import serve_metrics
from workers.ports import ExchangeOptions
from workers.redaction import Redactor
from workers.scoped import OwnSecrets, token_of
from workers.secrets import Secrets
from workers.settings import Settings, load_settings, read_environment
from workers.system_log import system_log_of
from workers.trace import Tracing
from workers.wakeup import wake_up
from workers.worker import Worker, drain_on_signals, keep_what_is_loaded

_EPILOG = """\
settings come from the environment and from .env; what is given here wins:
  SUPABASE_URL, SUPABASE_SERVICE_ROLE_KEY (or SUPABASE_SECRET_KEY)   the database, required
  WORKER_TOKEN or WORKER_TOKEN_FILE, with SUPABASE_ANON_KEY           instead of that key: an organization's own worker
  ORGANIZATION_SECRET_NAME                                           what ${NAME} stands for in that worker's agents
  SUPABASE_ANON_KEY (or SUPABASE_PUBLISHABLE_KEY), SUPABASE_PUBLIC_URL what endpoints report to (status_webhook)
  WORKER_ID, WORKER_CONCURRENCY, LEASE_SECONDS, POLL_INTERVAL        as the options
  DATABASE_URL                                                       to hear of new tasks at once (LISTEN)
  DRAIN_SECONDS (30), REQUEST_TIMEOUT (30)                           leaving, and one request, in seconds
  ANTHROPIC_API_KEY, OPENAI_API_KEY, GOOGLE_API_KEY, OLLAMA_BASE_URL model providers
  ORCHESTRATOR_PLATFORM_KEYS (1)                                     0: these keys are not lent to organizations
  ORCHESTRATOR_SECRETS_KEY                                           Fernet keys of secrets, see `secrets --help`
  LLM_OFFLINE=1, LLM_OFFLINE_DELAY (1.2)                             as --offline; seconds for one draft
  ORCHESTRATOR_ALLOW_PRIVATE_HOSTS=1                                 agents may call http:// and private addresses
  METRICS_PORT, METRICS_HOST (127.0.0.1)                             serves /healthz and Prometheus /metrics
  WORKER_TRACE (on)                                                  off: the steps of runs are not kept
  OTEL_EXPORTER_OTLP_ENDPOINT, _HEADERS, OTEL_SERVICE_NAME           sends spans of runs and steps (extra otel)
  LOG_FORMAT (console or json), LOG_LEVEL (INFO)                     the log, on standard error
  SYSTEM_LOG_LEVEL (WARNING)                                         what of it goes to system_logs; OFF for nothing

SIGTERM or Ctrl-C drains: nothing new is claimed, running tasks get DRAIN_SECONDS, the rest is given back
without using up an attempt. A second signal ends at once.
"""

_A2A_EPILOG = """\
settings come from the environment and from .env; what is given here wins:
  SUPABASE_URL, SUPABASE_ANON_KEY (or SUPABASE_PUBLISHABLE_KEY) the database, required; no server's key is used
  A2A_HOST, A2A_PORT                                            as the options
  A2A_PUBLIC_URL                                                where clients reach it, for the agents' cards
  A2A_POLL_INTERVAL (0.5)                                       how often streams look for news, in seconds
  A2A_BLOCKING_SECONDS (300), A2A_STREAM_SECONDS (3600)         longest blocking request, longest stream
  A2A_MAX_STREAMS (1000), A2A_MAX_STREAMS_PER_USER (50)         streams and blocking requests at once
  LOG_FORMAT (console or json), LOG_LEVEL (INFO)                the log, on standard error
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 1 failed, 2 wrong use or settings."""
    arguments = _parse(argv)
    match arguments.command:
        case "secrets":
            return _command(secret_commands.run(arguments.action, read_environment()))
        case "token":
            return _command(token_command.run(arguments, read_environment()))
        case "a2a":
            return _serve_a2a(arguments)
        case _:
            return _work(arguments)


def _work(arguments: argparse.Namespace) -> int:
    try:
        settings = load_settings(
            read_environment(),
            concurrency=arguments.concurrency,
            methods=arguments.methods,
            organizations=tuple(arguments.organization) if arguments.organization else None,
            once=arguments.once or None,
            offline=arguments.offline or None,
            lease_seconds=arguments.lease_seconds,
            poll_interval=arguments.poll_interval,
            worker_id=arguments.worker_id,
        )
        system_log = system_log_of(settings)
    except SettingsError as error:
        print(f"orchestrator-worker: {error}", file=sys.stderr)
        return 2
    redactor = _redactor(settings)
    hears = system_log.processor if system_log is not None else None
    log = build_logger(settings.log_format, settings.log_level, redactor, hears).bind(worker_id=settings.worker_id)
    try:
        asyncio.run(_run(settings, log, redactor))
    except SettingsError as error:
        print(f"orchestrator-worker: {error}", file=sys.stderr)
        return 2
    except BackendError as error:
        log.error("stopped", error=str(error))
        return 1
    return 0


def _command(work: Coroutine[Any, Any, int | None]) -> int:
    try:
        return asyncio.run(work) or 0
    except (SettingsError, BackendError) as error:
        print(f"orchestrator-worker: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingsError) else 1


def _redactor(settings: Settings) -> Redactor:
    """Return what hides secrets, and hides this worker's own from the start."""
    redactor = Redactor()
    own = (settings.supabase_key, settings.database_url, *split_keys(settings.secrets_key or ""))
    lent = (value for name, value in settings.marketplace.items() if not name.endswith("_URL"))
    for value in (*own, *lent, *(provider.api_key for provider in settings.providers.values())):
        redactor.remember(value or "")
    return redactor


def _serve_a2a(arguments: argparse.Namespace) -> int:
    # Here, because a worker that runs agents needs neither the SDK nor a web server in its memory.
    from workers.a2a.server import serve  # noqa: PLC0415
    from workers.a2a.settings import load_a2a_settings  # noqa: PLC0415

    try:
        asyncio.run(serve(load_a2a_settings(read_environment(), host=arguments.host, port=arguments.port)))
    except SettingsError as error:
        print(f"orchestrator-worker: {error}", file=sys.stderr)
        return 2
    return 0


async def _run(settings: Settings, log: FilteringBoundLogger, redactor: Redactor) -> None:
    token = token_of(settings, redactor)
    async with AsyncExitStack() as stack:
        backend = functools.partial(
            connect,
            settings.supabase_url,
            settings.supabase_key,
            key_variable=settings.supabase_key_variable,
            timeout_seconds=settings.request_timeout,
            token=token,
        )
        # The exchange has a connection of its own, on its own loop.
        database = await stack.enter_async_context(backend())
        source = database if token is None else OwnSecrets(settings.own_secrets)
        secrets = Secrets(source, key=settings.secrets_key, redactor=redactor)
        handlers = await assemble(stack, settings, secrets, database)
        methods = _methods(settings, handlers)
        metrics = _metrics(settings)
        observed = metrics.observing(backend) if metrics else backend
        tracing = _tracing(stack, settings)
        worker = Worker(
            _options(settings, methods), handlers, observed, log, metrics, redactor=redactor, tracing=tracing
        )
        if metrics is not None and settings.metrics_port is not None:
            metrics.watch(worker)
            address = stack.enter_context(serve_metrics(metrics, settings.metrics_host, settings.metrics_port))
            log.info("metrics", address=address)
        keep_what_is_loaded()
        log.info(
            "started",
            url=settings.supabase_url,
            concurrency=settings.concurrency,
            once=settings.once,
            offline=settings.offline,
            **({} if token is None else {"organization": token.organization}),
        )
        url = None if settings.once else settings.database_url
        with drain_on_signals(worker), wake_up(url, worker.exchange.poll_now, log):
            await worker.run()
        log.info("stopped")


def _tracing(stack: AsyncExitStack, settings: Settings) -> Tracing:
    """Return what is traced; what sends spans is closed with `stack`.

    Raises:
        SettingsError: spans are to be sent, and the packages for it are not installed.
    """
    if settings.otlp is None:
        return Tracing(store=settings.trace)
    try:
        # Here, because a worker that sends nothing needs no SDK.
        from workers.otel import Collector  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError(
            f"An OTLP endpoint is set, but {error.name} is not installed: pip install 'orchestrator-ai[otel]'."
        ) from None
    collector = Collector(settings.otlp, settings.worker_id)
    stack.callback(collector.close)
    return Tracing(store=settings.trace, watcher=collector)


def _metrics(settings: Settings) -> Metrics | None:
    """Return the numbers to keep; None when they are not served, so that nobody counts."""
    if settings.metrics_port is None:
        return None
    answer_within = 3 * max(settings.poll_interval, settings.lease_seconds / 3)
    return Metrics(slots=settings.concurrency, answer_within=answer_within)


def _methods(settings: Settings, handlers: Mapping[str, Handler]) -> tuple[str, ...]:
    """Return what to ask for: only what there is a handler for, so that tasks for newer workers wait for them.

    Raises:
        SettingsError: a method that was asked for has no handler.
    """
    known = ", ".join(sorted(handlers))
    if unknown := sorted(set(settings.methods or ()) - handlers.keys()):
        raise SettingsError(f"--methods names {', '.join(unknown)}, but this worker has handlers for {known}")
    return settings.methods or tuple(sorted(handlers))


def _options(settings: Settings, methods: tuple[str, ...]) -> ExchangeOptions:
    return ExchangeOptions(
        worker_id=settings.worker_id,
        concurrency=settings.concurrency,
        lease_seconds=settings.lease_seconds,
        poll_interval=settings.poll_interval,
        drain_seconds=settings.drain_seconds,
        methods=methods,
        organizations=settings.organizations,
        once=settings.once,
    )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="orchestrator-worker", description="The worker of Orchestrator AI.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run",
        help="claim tasks, run their agents, write back the results",
        description="Claim tasks, run their agents, write back the results, until told to stop.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("--concurrency", type=_whole(1, 1000), metavar="N", help="tasks at the same time (10)")
    run.add_argument("--methods", type=_names, metavar="A,B", help="only tasks of these methods")
    run.add_argument("--organization", action="append", metavar="SLUG", help="only this organization; may be repeated")
    run.add_argument("--once", action="store_true", help="finish what is pending, then exit")
    run.add_argument("--offline", action="store_true", help="write drafts by rule instead of calling model providers")
    run.add_argument("--lease-seconds", type=_whole(2, 3600), metavar="S", help="how long a claim holds unrenewed (30)")
    run.add_argument("--poll-interval", type=_seconds, metavar="S", help="longest wait between looks for work (2)")
    run.add_argument("--worker-id", metavar="ID", help="this worker's name (host, process and a random part)")
    secret_commands.add_parsers(commands)
    token_command.add_parser(commands)
    a2a = commands.add_parser(
        "a2a",
        help="serve the organizations' agents to A2A clients",
        description="Serve the organizations' agents to A2A clients at /a2a/ORGANIZATION/AGENT, until told to stop.",
        epilog=_A2A_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    a2a.add_argument("--host", help="address to listen on (127.0.0.1)")
    a2a.add_argument("--port", type=_whole(0, 65535), help="port to listen on (6030)")
    return parser.parse_args(argv)


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be between {low} and {high}")
        return value

    return parse


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.01 <= value <= 300:
        raise argparse.ArgumentTypeError("must be between 0.01 and 300")
    return value


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError("must name at least one method")
    return names


if __name__ == "__main__":
    sys.exit(main())
