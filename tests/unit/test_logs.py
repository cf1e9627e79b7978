from __future__ import annotations

import json
import threading
from io import StringIO

import pytest

from workers.logs import Lines, build_logger


class Stream(StringIO):
    """A stream that says when something was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()
        self.writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        done = super().write(text)
        self.written.set()
        return done


def test_lines_of_information_are_written_soon_and_together() -> None:
    stream = Stream()
    lines = Lines(stream)
    for number in range(100):
        lines.info(str(number))
    assert stream.written.wait(5)
    lines.flush()
    assert stream.getvalue().splitlines() == [str(number) for number in range(100)]
    assert stream.writes <= 3


def test_the_writer_goes_on_after_a_pause() -> None:
    stream = Stream()
    lines = Lines(stream)
    for text in ("one", "two"):
        stream.written.clear()
        lines.info(text)
        assert stream.written.wait(5)
    assert stream.getvalue() == "one\ntwo\n"


def test_a_warning_is_written_at_once_after_what_was_said_before() -> None:
    stream = Stream()
    lines = Lines(stream)
    lines.info("before")
    lines.warning("careful")
    assert stream.getvalue() == "before\ncareful\n"


def test_lines_that_nobody_reads_do_not_pile_up() -> None:
    stream = Stream()
    lines = Lines(stream)
    for _ in range(25_000):
        lines.info("x")
    assert stream.getvalue().count("\n") >= 10_000


def test_lines_of_several_threads_stay_whole() -> None:
    stream = Stream()
    lines = Lines(stream)

    def speak(name: str) -> None:
        for number in range(1000):
            lines.info(f"{name}{number}")

    threads = [threading.Thread(target=speak, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines.flush()
    said = stream.getvalue().splitlines()
    assert len(said) == 3000
    assert [line for line in said if line.startswith("a")] == [f"a{number}" for number in range(1000)]


def test_json_lines_carry_what_was_bound_and_the_trace_of_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    log = build_logger("json", "INFO").bind(worker_id="w1")
    log.debug("not this")
    try:
        raise KeyError("wrong")
    except KeyError as error:
        log.error("internal_error", exc_info=error, odd=object)
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert (line["event"], line["level"], line["worker_id"]) == ("internal_error", "error", "w1")
    assert "KeyError: 'wrong'" in line["exception"]
    assert line["timestamp"].endswith("Z")
