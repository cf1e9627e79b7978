"""Logging: structured lines on standard error, as JSON or for a terminal; never payloads, never secrets.

Lines of information wait a moment and are written several at once: a system call for each of thousands of lines a
second would cost more than the tasks they tell of. Warnings and errors are written at once, with all before them.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog
from pydantic_core import to_json
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from workers.redaction import Redactor
from workers.settings import LogFormat

_WAIT_SECONDS = 0.05
_MAX_LINES = 10_000
# Our own words and ids, in which no secret is looked for: a tenant's secret "completed" must not blind the operator.
_OUR_WORDS = frozenset(
    ("event", "level", "timestamp", "worker_id", "organization", "task_id", "method", "outcome", "error_code")
)


def build_logger(
    log_format: LogFormat, level: str, redactor: Redactor | None = None, hears: Processor | None = None
) -> FilteringBoundLogger:
    """Return a logger that writes lines of at least `level`; it changes no global configuration.

    `redactor` hides the secrets of the organization that a line is about, or all if it names none. `hears` is given
    every entry after that.
    """
    processors: list[Processor] = [structlog.processors.add_log_level, structlog.processors.format_exc_info]
    if redactor is not None:
        processors.append(_Redaction(redactor))
    if hears is not None:
        processors.append(hears)
    if log_format == "json":
        processors += [_add_time, structlog.processors.JSONRenderer(_encode)]
    else:
        processors += [structlog.processors.TimeStamper(fmt="iso", utc=True)]
        # Not the formatter that shows local variables: they hold what tenants wrote.
        plain = structlog.dev.plain_traceback
        processors += [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    lines = Lines(sys.stderr)
    atexit.register(lines.flush)
    logger: FilteringBoundLogger = structlog.wrap_logger(
        lines,
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
    ).bind()
    return logger


def _add_time(_logger: object, _method: str, entry: EventDict) -> EventDict:
    """Add the time as a value: the encoder writes it as ISO 8601, faster than Python does."""
    entry["timestamp"] = datetime.now(UTC)
    return entry


class _Redaction:
    """Hides secrets in what a line says."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def __call__(self, _logger: object, _method: str, entry: EventDict) -> EventDict:
        organization = entry.get("organization")
        for name, value in entry.items():
            if name not in _OUR_WORDS:
                entry[name] = self._redactor.json(value, organization)
        return entry


def _encode(entry: Any, **_options: Any) -> str:
    return to_json(entry, fallback=repr).decode()


class Lines:
    """Writes lines to a stream, each within `_WAIT_SECONDS`; what structlog calls a logger. Thread-safe."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting: list[str] = []
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._some = threading.Event()
        self._writer: threading.Thread | None = None

    def debug(self, line: str) -> None:
        """Write a line soon."""
        with self._lock:
            self._waiting.append(line)
            waiting = len(self._waiting)
        if waiting == 1:
            self._start_writer()
            self._some.set()
        elif waiting >= _MAX_LINES:  # The reader of the stream is slow: let it be felt rather than fill the memory.
            self.flush()

    info = debug

    def warning(self, line: str) -> None:
        """Write a line at once."""
        with self._lock:
            self._waiting.append(line)
        self.flush()

    error = critical = warning

    def flush(self) -> None:
        """Write all that waits."""
        with self._writing:
            with self._lock:
                lines, self._waiting = self._waiting, []
            if lines:
                self._stream.write("".join(f"{line}\n" for line in lines))
                self._stream.flush()

    def _start_writer(self) -> None:
        # Not in the constructor, so that a process that forks before it logs has a writer in each.
        with self._lock:
            if self._writer is not None:
                return
            self._writer = threading.Thread(target=self._write, name="log", daemon=True)
        self._writer.start()

    def _write(self) -> None:
        while self._some.wait():
            time.sleep(_WAIT_SECONDS)
            self._some.clear()
            self.flush()
