from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.backoff import Backoff
from workers.clean import clean_json
from workers.contract import (
    Completion,
    Deliverable,
    Lease,
    ReportItem,
    completed,
    failed,
)
from workers.errors import AnswerUnreadable, SettingsError, TaskFailure
from workers.ledger import UsageRow
from workers.packing import build_report, encode_json, pack
from workers.parsing import parse_answer
from workers.settings import Settings, load_settings, read_environment

ENV = {"SUPABASE_URL": "http://127.0.0.1:6010", "SUPABASE_SERVICE_ROLE_KEY": "the-key"}
LEASE = Lease("t1", 2, "token")
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


# Back-off.


def test_back_off_doubles_within_its_jitter_and_stops_at_its_cap() -> None:
    backoff = Backoff(first=1.0, cap=10.0, rng=random.Random(1))  # noqa: S311
    delays = [backoff.next() for _ in range(3000)]
    for step, delay in enumerate(delays):
        ceiling = min(10.0, 2.0 ** min(step, 60))
        assert ceiling / 2 <= delay <= ceiling
    assert len(set(delays[10:])) > 2000


def test_back_off_begins_again_after_a_success() -> None:
    backoff = Backoff(first=1.0, cap=100.0)
    for _ in range(6):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= 1.0


# What jsonb can hold.


@given(ANY_JSON)
def test_any_json_becomes_what_jsonb_accepts(value: Any) -> None:
    text = json.dumps(clean_json(value), allow_nan=False, ensure_ascii=False)
    text.encode("utf-8")
    assert "\\u0000" not in text


def test_clean_values_stay_as_they_are() -> None:
    value = {"a": [1, 2.5, None, True, "žluťoučký 🐚"], "b": {"c": -1}}
    assert clean_json(value) == value


def test_nesting_without_end_is_cut() -> None:
    value: list[Any] = []
    for _ in range(5000):
        value = [value]
    assert len(json.dumps(clean_json(value))) < 1000
    assert clean_json(math.inf) is None


# What is said to the database.


def test_a_completion_leaves_out_what_it_does_not_have() -> None:
    assert completed(LEASE, Completion(response="x")).body == {"response": "x"}


def test_a_full_completion_has_the_form_of_the_contract() -> None:
    item = completed(
        LEASE,
        Completion(
            response="x",
            response_metadata={"a": 1},
            llm_metadata={"provider": "p"},
            deliverable=Deliverable("T", "blog", "markdown", "x", {"k": "v"}),
            messages=[{"content": "x"}],
            usage=[UsageRow("p", "m", 1, 2, 0, None, None)],
        ),
    )
    report = json.loads(build_report([pack(ReportItem("heartbeats", LEASE, {"progress": 5})), pack(item)]))
    fence = {"task_id": "t1", "attempt": 2, "lease_token": "token"}
    assert report["heartbeats"] == [{**fence, "progress": 5}]
    body = report["completed"][0]
    assert body["deliverable"] == {
        "title": "T",
        "type": "blog",
        "format": "markdown",
        "content": "x",
        "metadata": {"k": "v"},
        "file_attachments": None,
    }
    assert body["usage"][0]["cost"] is None
    assert set(report) == {"heartbeats", "completed", "understands"}


def test_a_failure_without_extras_says_only_what_it_must() -> None:
    body = failed(LEASE, TaskFailure("input_invalid", "Bad.")).body
    assert body == {"error_code": "input_invalid", "error_message": "Bad.", "retryable": False}


@pytest.mark.parametrize(
    "raw",
    [None, [], "x", {"tasks": 5}, {"tasks": [{"attempt": 1}]}, {"outcomes": [{"kind": "x"}]}, {"next_poll_ms": "soon"}],
)
def test_an_answer_in_another_form_is_unreadable(raw: object) -> None:
    with pytest.raises(AnswerUnreadable):
        parse_answer(json.dumps(raw).encode())


def test_an_answer_may_leave_out_what_there_is_none_of_and_add_what_nobody_knows() -> None:
    answer = parse_answer(b'{"tasks": null, "outcomes": null, "cancel": ["t1"], "later": {"a": 1}}')
    assert (answer.tasks, answer.outcomes, answer.cancel, answer.unreadable) == ((), (), ("t1",), ())


class Unknown:
    def __str__(self) -> str:
        return "an object of ours"


def test_what_an_agent_said_is_encoded_whatever_it_is() -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    said = {"nul": "a\x00b", "half": "\ud800", "odd": Unknown(), "endless": float("inf"), 1: (1, 2), "deep": deep}
    assert len(encode_json(said)) < 1000
    said.pop("deep")
    expected = {"nul": "a\ufffdb", "half": "\ufffd", "odd": "an object of ours", "endless": None, "1": [1, 2]}
    assert json.loads(encode_json(said)) == expected


@given(ANY_JSON)
def test_what_is_encoded_is_what_was_cleaned(value: Any) -> None:
    assert json.loads(encode_json(value)) == json.loads(json.dumps(clean_json(value)))


# Settings.


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(SettingsError, match="SUPABASE_URL is not set"):
        load_settings({})
    with pytest.raises(SettingsError, match="SUPABASE_SERVICE_ROLE_KEY is not set"):
        load_settings({"SUPABASE_URL": "http://x"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SUPABASE_URL", "localhost"),
        ("WORKER_CONCURRENCY", "0"),
        ("WORKER_CONCURRENCY", "2.5"),
        ("WORKER_CONCURRENCY", "many"),
        ("LEASE_SECONDS", "1"),
        ("POLL_INTERVAL", "nan"),
        ("LLM_OFFLINE", "perhaps"),
        ("LOG_FORMAT", "xml"),
        ("ANTHROPIC_BASE_URL", "ftp://x"),
    ],
)
def test_an_unusable_value_is_refused_by_the_name_of_its_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load_settings({**ENV, name: value})


def test_the_secret_key_serves_when_there_is_no_service_role_key() -> None:
    settings = load_settings({"SUPABASE_URL": "http://x", "SUPABASE_SECRET_KEY": "sb_secret", "WORKER_ID": "w"})
    assert (settings.supabase_key, settings.supabase_key_variable) == ("sb_secret", "SUPABASE_SECRET_KEY")
    assert settings.worker_id == "w"


def test_an_empty_variable_counts_as_not_set_and_options_win() -> None:
    settings = load_settings({**ENV, "OPENAI_API_KEY": " ", "WORKER_CONCURRENCY": "7"}, concurrency=3, once=None)
    assert settings.providers["openai"].api_key is None
    assert (settings.concurrency, settings.once) == (3, False)


def test_private_hosts_are_only_reached_when_the_operator_says_so() -> None:
    assert load_settings(ENV).allow_private_hosts is False
    assert load_settings({**ENV, "ORCHESTRATOR_ALLOW_PRIVATE_HOSTS": "1"}).allow_private_hosts is True


def test_gemini_api_key_serves_for_google() -> None:
    assert load_settings({**ENV, "GEMINI_API_KEY": "g"}).providers["google"].api_key == "g"


def test_settings_never_show_a_key_and_cannot_be_changed() -> None:
    secrets = {"ANTHROPIC_API_KEY": "sk-secret", "DATABASE_URL": "postgresql://postgres:sk-secret@db/postgres"}
    settings: Settings = load_settings({**ENV, **secrets})
    assert settings.database_url == secrets["DATABASE_URL"]
    assert "the-key" not in repr(settings)
    assert "sk-secret" not in repr(settings)
    with pytest.raises(AttributeError):
        settings.once = True  # type: ignore[misc]


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("SUPABASE_URL=http://file\nONLY_IN_FILE=yes\n")
    monkeypatch.setenv("SUPABASE_URL", "http://environment")
    env = read_environment(tmp_path)
    assert (env["SUPABASE_URL"], env["ONLY_IN_FILE"]) == ("http://environment", "yes")
