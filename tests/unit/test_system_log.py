from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from workers.system_log import SystemLog


class Sink:
    """Where batches go; it fails as often as it is told to, and waits while it is held."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.tries = 0
        self.batches: list[list[dict[str, Any]]] = []
        self.open = threading.Event()
        self.open.set()

    def __call__(self, entries: Sequence[dict[str, Any]]) -> None:
        self.tries += 1
        self.open.wait(10)
        logging.getLogger("sending").error("what sending says is not sent")
        if self.failures:
            self.failures -= 1
            raise ConnectionError("away")
        self.batches.append(list(entries))

    @property
    def messages(self) -> list[str]:
        return [entry["message"] for batch in self.batches for entry in batch]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def logger(handler: SystemLog) -> logging.Logger:
    made = logging.Logger("test", logging.DEBUG)
    made.addHandler(handler)
    return made


def test_entries_go_in_batches_and_in_order() -> None:
    sink = Sink()
    handler = SystemLog(sink, level=logging.INFO, batch=10, seconds=0.05)
    log = logger(handler)
    for number in range(25):
        log.info("line %s", number)
    log.debug("below the level")
    handler.close()
    assert sink.messages == [f"line {number}" for number in range(25)]
    assert 3 <= len(sink.batches) <= 5
    assert {entry["level"] for batch in sink.batches for entry in batch} == {"INFO"}


def test_logging_never_waits_and_what_does_not_fit_is_counted() -> None:
    sink = Sink()
    sink.open.clear()
    handler = SystemLog(sink, size=10, batch=5, seconds=0.01)
    log = logger(handler)
    log.warning("first")
    until(lambda: sink.tries)
    started = time.monotonic()
    for number in range(1000):
        log.warning("line %s", number)
    assert time.monotonic() - started < 2
    assert handler.dropped >= 980
    dropped = handler.dropped
    sink.open.set()
    until(lambda: any("dropped" in message for message in sink.messages))
    handler.close()
    assert f"{dropped} entries of the log were dropped." in sink.messages


def test_a_database_that_is_gone_costs_nothing_but_the_entries() -> None:
    sink = Sink(failures=3)
    handler = SystemLog(sink, seconds=0.01)
    log = logger(handler)
    log.error("lost")
    until(lambda: handler.dropped == 1)
    log.error("found")
    until(lambda: "found" in sink.messages)
    assert "1 entries of the log were dropped." in sink.messages
    handler.close()
    assert "lost" not in sink.messages


def test_what_it_logs_itself_is_not_sent_again() -> None:
    sink = Sink()
    handler = SystemLog(sink, level=logging.DEBUG, seconds=0.01)
    logging.getLogger("sending").addHandler(handler)
    try:
        logger(handler).error("once")
        until(lambda: sink.messages)
        time.sleep(0.1)
        assert sink.messages == ["once"]
    finally:
        logging.getLogger("sending").removeHandler(handler)
        handler.close()


def test_entries_of_structlog_are_taken_and_passed_on() -> None:
    sink = Sink()
    handler = SystemLog(sink, seconds=0.01)
    entry = {"event": "internal_error", "organization": "acme", "task_id": "t", "odd": object(), "bad": "\x00"}
    assert handler.processor(None, "error", entry) is entry
    handler.processor(None, "info", {"event": "task"})
    handler.close()
    ((sent,),) = sink.batches
    assert (sent["level"], sent["message"], sent["organization_slug"]) == ("ERROR", "internal_error", "acme")
    assert (sent["metadata"]["task_id"], sent["metadata"]["bad"]) == ("t", "\N{REPLACEMENT CHARACTER}")


def test_a_record_that_cannot_be_written_breaks_nothing() -> None:
    sink = Sink()
    handler = SystemLog(sink, seconds=0.01)
    logger(handler).error("%d", "no number")
    handler.close()
    assert (handler.dropped, sink.messages) == (1, [])
