"""Sends log entries to the database's `system_logs`: a handler of Python's logging that batches and never blocks.

Entries wait in a bounded queue; a thread of its own sends them. What does not fit is dropped and counted, and the next
batch that arrives says how many. Errors of its own go nowhere, least of all into a log.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Any

from workers.backend import log_sender
from workers.clean import clean_json, clean_text
from workers.redaction import Redactor
from workers.scoped import token_of
from workers.settings import Settings

Entry = dict[str, Any]
Send = Callable[[Sequence[Entry]], None]

_LEVELS = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR", "critical": "ERROR"}
_MAX_MESSAGE = 10_000
_CLOSE_SECONDS = 2.0


class SystemLog(logging.Handler):
    """A logging handler; `send` writes a batch and raises when it could not. Thread-safe.

    A batch of at most `batch` entries goes `seconds` after its first. One that cannot be sent is tried once more, then
    dropped.
    """

    def __init__(
        self, send: Send, *, level: int = logging.WARNING, size: int = 1000, batch: int = 100, seconds: float = 1.0
    ) -> None:
        super().__init__(level)
        self.dropped = 0
        self._send = send
        self._batch = batch
        self._seconds = seconds
        self._queue: queue.Queue[Entry | None] = queue.Queue(size)
        self._told = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record; what it cannot take it counts."""
        if threading.current_thread() is self._thread:
            return  # What sending itself logs would be sent again, for ever.
        try:
            message, extra = record.getMessage(), getattr(record, "entry", {})
            entry = {
                "level": _LEVELS.get(record.levelname.lower(), "ERROR"),
                "message": clean_text(message)[:_MAX_MESSAGE],
                "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
                "file_path": record.pathname,
                "organization_slug": extra.get("organization"),
                "metadata": clean_json({"logger": record.name, **extra}),
            }
            self._queue.put_nowait(entry)
        except Exception:
            self.dropped += 1

    def processor(self, _logger: object, method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Take an entry of structlog, as one of its processors, and pass it on."""
        number = logging.getLevelNamesMapping().get(_LEVELS.get(method, "ERROR"), logging.ERROR)
        if number >= self.level:
            said: Mapping[str, Any] = {key: value for key, value in entry.items() if key not in {"event", "timestamp"}}
            record = logging.LogRecord("workers", number, "", 0, str(entry.get("event", "")), None, None)
            record.entry = {key: value if _is_plain(value) else str(value) for key, value in said.items()}
            self.emit(record)
        return entry

    def close(self) -> None:
        """Send what waits, for at most two seconds, and end."""
        self._ending.set()
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(_CLOSE_SECONDS)
        super().close()

    def _run(self) -> None:
        while not (self._ending.is_set() and self._queue.empty()):
            entries = self._next()
            if entries:
                self._deliver(entries)

    def _next(self) -> list[Entry]:
        """Wait for a first entry, and return it with those that follow within the time of a batch."""
        first = self._queue.get()
        if first is None:
            return []
        self._ending.wait(self._seconds)
        entries = [first]
        while len(entries) < self._batch:
            try:
                entry = self._queue.get_nowait()
            except queue.Empty:
                break
            if entry is not None:
                entries.append(entry)
        return entries

    def _deliver(self, entries: list[Entry]) -> None:
        missing = self.dropped - self._told
        if missing:
            note = {"level": "WARNING", "message": f"{missing} entries of the log were dropped.", "metadata": {}}
            entries = [*entries, note]
        for _ in range(2):
            try:
                self._send(entries)
            except Exception:
                if self._ending.wait(self._seconds):
                    break
                continue
            self._told += missing
            return
        self.dropped += len(entries) - bool(missing)


def system_log_of(settings: Settings) -> SystemLog | None:
    """Return what sends the log's entries to the database; None when nothing is to be sent.

    Raises:
        SettingsError: the worker's token is none.
    """
    if settings.system_log_level == "OFF":
        return None
    send = log_sender(settings.supabase_url, settings.supabase_key, token=token_of(settings, Redactor()))
    return SystemLog(send, level=logging.getLevelNamesMapping()[settings.system_log_level])


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bool | list | dict)
