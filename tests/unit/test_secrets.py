"""Keys, redaction, and how workers read and fill in secrets; against a database that is a function.

Over 400 lines, because they are one promise: a secret goes where it is named and nowhere else.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.fernet import Fernet

from tests.unit.fake_backend import FakeBackend
from tests.unit.helpers import options, until
from workers.contract import Completion, Lease, ReportItem
from workers.errors import BackendUnavailable, InputNeeded, SettingsError, TaskFailure
from workers.job import Job
from workers.keyring import Keyring, new_key, split_keys
from workers.logs import build_logger
from workers.packing import pack
from workers.questions import InputRequest
from workers.redaction import REDACTED, Redactor, Veil
from workers.secrets import Secrets
from workers.settings import load_secrets_key, load_settings
from workers.worker import Worker

KEY = new_key()
VALUE = 'sk-läng/"quoted"+1 2'
ENV = {"SUPABASE_URL": "http://x", "SUPABASE_SERVICE_ROLE_KEY": "k"}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Store:
    """A database with secrets by organization and name, and what it was asked."""

    def __init__(self, **secrets: str) -> None:
        self.rows: dict[str, dict[str, Any]] = {
            name: {"name": name, "version": 1, "ciphertext": Keyring([KEY]).encrypt(value)}
            for name, value in secrets.items()
        }
        self.asked: list[tuple[str, list[str]]] = []
        self.backend = FakeBackend()
        self.backend.functions["read_organization_secrets"] = self.read
        self.clock = Clock()

    def read(self, arguments: Mapping[str, Any]) -> Any:
        self.asked.append((arguments["organization_slug"], arguments["names"]))
        if arguments["organization_slug"] != "acme":
            return []
        return [self.rows[name] for name in arguments["names"] if name in self.rows]

    def secrets(self, key: str | None = KEY, redactor: Redactor | None = None) -> Secrets:
        return Secrets(self.backend, key=key, redactor=redactor, clock=self.clock)


async def refusal(act: Any) -> TaskFailure:
    with pytest.raises(TaskFailure) as caught:
        await act
    return caught.value


# Keys ----------------------------------------------------------------------------------------------------------------


def test_the_first_key_encrypts_and_every_key_decrypts() -> None:
    old, new = new_key(), new_key()
    before, both, after = Keyring([old]), Keyring([new, old]), Keyring([new])
    token = before.encrypt("ü secret")
    assert both.decrypt(token) == "ü secret"
    assert after.decrypt(token) is after.renew(token) is None
    renewed = both.renew(token)
    assert renewed is not None
    assert after.decrypt(renewed) == "ü secret"
    assert both.renew(renewed) == renewed
    assert after.decrypt(both.encrypt("x")) == "x"


def test_what_was_tampered_with_is_not_decrypted() -> None:
    ring = Keyring([KEY])
    token = ring.encrypt("secret")
    changed = token[:-10] + ("A" if token[-10] != "A" else "B") + token[-9:]
    for bad in (changed, token[:-4], "gAAAA" + "x" * 80, "", "ü", token + "\n\x00"):
        assert ring.decrypt(bad) is None or ring.decrypt(bad) == "secret" == ring.decrypt(token)
    assert ring.decrypt(changed) is None


@pytest.mark.parametrize("text", ["short", "x" * 44, f"{KEY},nonsense-with-a-secret", ","])
def test_unusable_keys_end_with_the_variable_and_without_showing_them(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({**ENV, "ORCHESTRATOR_SECRETS_KEY": text})
    assert "ORCHESTRATOR_SECRETS_KEY" in str(caught.value)
    assert "nonsense" not in str(caught.value)
    assert KEY not in str(caught.value)


def test_settings_hold_the_keys_and_do_not_show_them() -> None:
    settings = load_settings(
        {**ENV, "ORCHESTRATOR_SECRETS_KEY": f" {KEY} , {new_key()} ", "ANTHROPIC_API_KEY": "the-key"}
    )
    assert split_keys(settings.secrets_key or "")[0] == KEY
    assert KEY not in repr(settings)
    assert settings.providers["anthropic"].api_key == "the-key"
    assert load_settings(ENV).secrets_key is None
    with pytest.raises(SettingsError, match="new-key"):
        load_secrets_key(ENV)


def test_platform_keys_are_lent_unless_the_operator_says_no() -> None:
    env = {**ENV, "ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "o", "GEMINI_API_KEY": "g"}
    kept = load_settings({**env, "ORCHESTRATOR_PLATFORM_KEYS": "0"})
    assert {provider.api_key for provider in kept.providers.values() if provider.key_variable} == {None}
    lent = load_settings(env)
    assert {provider.api_key for provider in lent.providers.values() if provider.key_variable} == {"a", "o", "g"}


# Redaction -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        lambda v: v,
        lambda v: quote(v, safe=""),
        quote,
        lambda v: quote(v, safe="/+"),
        json.dumps,
        lambda v: json.dumps(v, ensure_ascii=False),
        lambda v: base64.b64encode(v.encode()).decode(),
        lambda v: base64.urlsafe_b64encode(v.encode()).decode(),
        *(lambda v, n=n: base64.b64encode(b"user" + b"x" * n + b":" + v.encode()).decode() for n in range(3)),
        lambda v: base64.b64encode(v.encode() + b" and more").decode(),
    ],
)
def test_a_secret_is_hidden_in_every_form(form: Callable[[str], str]) -> None:
    redactor = Redactor()
    redactor.remember(VALUE, "acme")
    shown = redactor.text(f"before {form(VALUE)} after", "acme")
    assert REDACTED in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert VALUE[:8] not in shown
    assert base64.b64encode(VALUE.encode()).decode()[4:12] not in shown


@pytest.mark.parametrize("value", [VALUE, '-----BEGIN KEY-----\nMII\\x/\t"\n-----END KEY-----', "nul\x00inside"])
def test_an_encoded_item_hides_what_it_quotes_also_as_json_in_json(value: str) -> None:
    redactor = Redactor()
    redactor.remember(value, "acme")
    veil = Veil(redactor, "acme")
    for text in (value, json.dumps({"k": value}), json.dumps([json.dumps({"k": value}, ensure_ascii=False)])):
        item = ReportItem(
            "failed", Lease("t", 1, "l"), {"error_code": "endpoint_error", "error_data": {"body": [text]}}
        )
        shown = json.loads(pack(item, veil).text)
        assert REDACTED in shown["error_data"]["body"][0], text
        assert not [part for part in ("quoted", "MII", "inside") if part in str(shown)], text
    plain = ReportItem("failed", Lease("t", 1, "l"), {"error_message": "nothing"})
    assert pack(plain, veil) == pack(plain)


def test_others_texts_are_left_alone_and_the_operators_secrets_hidden_from_all() -> None:
    redactor = Redactor()
    redactor.remember("because", "acme")
    redactor.remember("a-service-key-of-the-operator")
    redactor.remember("postgres")  # Too short to be a key: a word.
    redactor.remember("five5", "acme")
    text = "because five5 a-service-key-of-the-operator postgres"
    assert redactor.text(text, "acme") == f"{REDACTED} five5 {REDACTED} postgres"
    assert redactor.text(text, "rival") == f"because five5 {REDACTED} postgres"
    assert redactor.text(text) == f"{REDACTED} five5 {REDACTED} postgres"


def test_json_is_searched_to_the_bottom_and_in_its_keys() -> None:
    redactor = Redactor()
    value = {"a": [VALUE, 1, None, {VALUE: ("x", f"<{VALUE}>")}], "b": 1.5, "c": True}
    assert redactor.json(value, "acme") is value
    redactor.remember(VALUE, "acme")
    hidden = {"a": [REDACTED, 1, None, {REDACTED: ["x", f"<{REDACTED}>"]}], "b": 1.5, "c": True}
    assert redactor.json(value, "acme") == hidden
    deep: Any = VALUE
    for _ in range(5000):
        deep = [deep]
    assert VALUE not in json.dumps(redactor.json(deep, "acme"))


def test_the_longest_secret_goes_first_and_what_is_kept_is_bounded() -> None:
    redactor = Redactor(max_chars=20_000)
    for value in ("abcdef", "abcdefghijk"):
        redactor.remember(value, "acme")
    assert redactor.text("abcdefghijk abcdefg", "acme") == f"{REDACTED} {REDACTED}g"
    for number in range(500):
        redactor.remember(f"greedy-secret-{number:05d}", "greedy")
    search = redactor.search()
    assert search is not None
    assert sum(map(len, search.forms)) <= 20_000
    assert redactor.text("abcdef greedy-secret-00499", "acme") == f"{REDACTED} greedy-secret-00499"
    assert redactor.text("greedy-secret-00499 greedy-secret-00000", "greedy") == f"{REDACTED} greedy-secret-00000"


def test_a_stream_hides_what_any_cut_runs_through() -> None:
    dice = random.Random(7)  # noqa: S311
    values = ["abcdef", "abcdefghijk", "defghi", "aaaaaab", "cdefabcdef"]
    redactor = Redactor()
    for value in values:
        redactor.remember(value, "acme")
    for _ in range(2000):
        text = "".join(dice.choice([*values, "abc", "aaa", "ghi", " ", "x", "f"]) for _ in range(dice.randrange(1, 8)))
        veil, shown, at = Veil(redactor, "acme"), "", 0
        while at < len(text):
            size = dice.randrange(1, 6)
            shown += veil.stream(text[at : at + size])
            at += size
        shown += veil.rest()
        assert not [value for value in values if value in shown], (text, shown)
        assert veil.rest() == ""


def test_a_stream_that_holds_no_beginning_of_a_secret_waits_for_nothing() -> None:
    redactor = Redactor()
    redactor.remember(VALUE, "acme")
    veil = Veil(redactor, "acme")
    assert [veil.stream(piece) for piece in ("Hello ", "wor", "ld s")] == ["Hello ", "wor", "ld "]
    assert veil.stream("o.") == "so."


# Reading and filling in ----------------------------------------------------------------------------------------------


async def test_an_agent_uses_secrets_of_a_quarter_mebibyte_at_most() -> None:
    """They are looked for in all that it says: hundreds of large ones would keep the worker busy."""
    redactor = Redactor()
    store = Store(**{f"S{number}": "x" * 60_000 for number in range(5)})
    secrets = store.secrets(redactor=redactor)
    assert await secrets.fill("acme", "${S0}${S1}${S2}${S3}")
    refused = await refusal(secrets.fill("acme", "${S0}${S1}${S2}${S3}${S4}"))
    assert (refused.code, refused.message) == (
        "agent_misconfigured",
        "The agent's secrets have more than 262144 characters in all.",
    )


async def test_get_gives_the_secret_of_that_organization_only() -> None:
    store = Store(STRIPE_KEY=VALUE)
    secrets = store.secrets()
    assert await secrets.get("acme", "STRIPE_KEY") == VALUE
    assert await secrets.get("rival", "STRIPE_KEY") is None
    assert await secrets.get("acme", "MISSING") is None
    assert await secrets.get("acme", "path") is None
    assert ("acme", ["path"]) not in store.asked


async def test_what_was_read_is_kept_for_seconds_and_what_was_missing_for_fewer() -> None:
    store = Store(STRIPE_KEY=VALUE)
    secrets = store.secrets()
    await asyncio.gather(*(secrets.get("acme", "STRIPE_KEY") for _ in range(50)))
    assert store.asked == [("acme", ["STRIPE_KEY"])]
    assert await secrets.get("acme", "NEW_KEY") is None
    store.rows["NEW_KEY"] = {"name": "NEW_KEY", "version": 1, "value": "from-vault"}
    store.clock.now += 3
    assert await secrets.get("acme", "NEW_KEY") == "from-vault"
    store.rows["STRIPE_KEY"]["ciphertext"] = Keyring([KEY]).encrypt("rotated")
    assert await secrets.get("acme", "STRIPE_KEY") == VALUE
    store.clock.now += 11
    assert await secrets.get("acme", "STRIPE_KEY") == "rotated"


async def test_fill_replaces_names_everywhere_in_one_call() -> None:
    store = Store(A_KEY="alpha-value", B_KEY="${A_KEY} stays")
    value = {
        "url": "https://x/${A_KEY}/${A_KEY}?k=${B_KEY}",
        "headers": {"${A_KEY}": "$${A_KEY} $A_KEY {A_KEY} ${A_KEY", "n": 1},
        "list": ["$$${A_KEY}", None, True, ["${B_KEY}"]],
    }
    filled = await store.secrets().fill("acme", value)
    assert filled == {
        "url": "https://x/alpha-value/alpha-value?k=${A_KEY} stays",
        "headers": {"${A_KEY}": "${A_KEY} $A_KEY {A_KEY} ${A_KEY", "n": 1},
        "list": ["$${A_KEY}", None, True, ["${A_KEY} stays"]],
    }
    assert store.asked == [("acme", ["A_KEY", "B_KEY"])]
    assert value["list"] == ["$$${A_KEY}", None, True, ["${B_KEY}"]]


async def test_fill_without_names_asks_nobody() -> None:
    store = Store()
    assert await store.secrets().fill("acme", {"a": ["b", "$${X}"], "n": 2}) == {"a": ["b", "${X}"], "n": 2}
    assert store.asked == []


async def test_what_fill_cannot_fill_in_is_named_and_never_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CANARY_KEY", "canary-value")
    secrets = Store(A_KEY="alpha-value").secrets()
    missing = await refusal(secrets.fill("acme", ["${A_KEY} ${CANARY_KEY} ${PATH}"]))
    assert (missing.code, missing.retryable, missing.data) == (
        "agent_misconfigured",
        False,
        {"secrets": ["CANARY_KEY", "PATH"]},
    )
    assert "CANARY_KEY, PATH" in missing.message
    assert "alpha-value" not in missing.message
    for text in ("${path}", "${}", "${A KEY}", "${env:PATH}", "${A_KEY:-x}", "${" + "A" * 64 + "}"):
        wrong = await refusal(secrets.fill("acme", {"x": text}))
        assert (wrong.code, wrong.retryable) == ("agent_misconfigured", False)
        assert "STRIPE_KEY" in wrong.message
    many = await refusal(secrets.fill("acme", [f"${{KEY_{number}}}" for number in range(101)]))
    assert many.code == "agent_misconfigured"


@pytest.mark.parametrize(
    ("key", "row", "tells"),
    [
        (new_key(), {}, "ORCHESTRATOR_SECRETS_KEY: encrypt it with the key in use"),
        (KEY, {"ciphertext": Fernet(KEY).encrypt(b"x").decode()[:-6] + "AAAAAA"}, "secrets encrypt"),
        (None, {}, "its operator must set ORCHESTRATOR_SECRETS_KEY"),
        (KEY, {"ciphertext": None}, "gone from Supabase Vault"),
    ],
)
async def test_what_cannot_be_decrypted_says_what_to_do(key: str | None, row: dict[str, Any], tells: str) -> None:
    store = Store(A_KEY=VALUE)
    store.rows["A_KEY"] |= row
    failure = await refusal(store.secrets(key).get("acme", "A_KEY"))
    assert (failure.code, failure.retryable, failure.data) == ("agent_misconfigured", False, {"secrets": ["A_KEY"]})
    assert tells in failure.message
    assert VALUE not in failure.message
    assert "gAAAA" not in failure.message


@pytest.mark.parametrize("answer", [BackendUnavailable("away"), {"no": "list"}, [{"version": 1}], None, "x"])
async def test_a_database_that_is_away_is_asked_again_later(answer: Any) -> None:
    store = Store(A_KEY=VALUE)

    def broken(_arguments: Mapping[str, Any]) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    store.backend.functions["read_organization_secrets"] = broken
    secrets = store.secrets()
    failure = await refusal(secrets.get("acme", "A_KEY"))
    assert (failure.code, failure.retryable) == ("secrets_unavailable", True)
    store.backend.functions["read_organization_secrets"] = store.read
    assert await secrets.get("acme", "A_KEY") == VALUE


async def test_what_is_kept_is_bounded() -> None:
    store = Store()
    store.rows = {f"KEY_{n}": {"name": f"KEY_{n}", "version": 1, "value": "v" * 60_000} for n in range(300)}
    secrets = store.secrets()
    for number in range(300):
        await secrets.get("acme", f"KEY_{number}")
    kept = secrets._kept
    assert kept._chars == sum(len(value or "") for _, value in kept._entries.values()) <= 8_000_000


# Where it is used ----------------------------------------------------------------------------------------------------


async def test_what_an_attempt_says_in_any_way_is_redacted(capsys: pytest.CaptureFixture[str]) -> None:
    backend, redactor = FakeBackend(), Redactor()
    backend.functions["read_organization_secrets"] = lambda _: [{"name": "A_KEY", "version": 1, "value": VALUE}]
    secrets = Secrets(backend, redactor=redactor)

    async def tell(job: Job) -> Completion:
        value = await secrets.get(job.claimed.task.organization_slug, "A_KEY")
        assert value == VALUE
        job.progress(20, f"Sending {value}")
        job.event("log", f"Used {value}", {"header": f"Bearer {value}"})
        for character in f"It is {value}, you see: sk":
            job.partial(character)
        match job.claimed.task.prompt:
            case "fail":
                raise TaskFailure("endpoint_error", f"They said {value}", data={"body": value})
            case "ask":
                raise InputNeeded(InputRequest(prompt=f"Is {value} right?"), checkpoint={"at": value})
            case "bug":
                raise RuntimeError(value)
        return Completion(f"The key is {value}", response_metadata={"k": value}, messages=[{"content": value}])

    log = build_logger("json", "INFO", redactor)
    worker = Worker(options(), {"tell": tell}, backend.connect, log, redactor=redactor)
    tasks = [backend.add_task(method="tell", prompt=prompt, max_attempts=1) for prompt in ("ok", "fail", "ask", "bug")]
    work = asyncio.create_task(worker.run())
    await until(lambda: all(task.status in {"completed", "failed", "paused"} for task in tasks))
    worker.drain()
    await asyncio.wait_for(work, 15)
    log.error("end")  # Writes what waits.
    for task in tasks:
        told = json.dumps([task.result, task.events, task.questions, task.checkpoint], ensure_ascii=False)
        assert REDACTED in told
        assert "quoted" not in told, told
        streamed = "".join(event["data"]["text"] for event in task.events if event.get("type") == "partial")
        assert streamed == f"It is {REDACTED}, you see: sk"
    assert tasks[0].result["response"] == f"The key is {REDACTED}"
    assert tasks[1].result["error_code"] == "endpoint_error"
    lines = capsys.readouterr().err
    assert "internal_error" in lines
    assert "quoted" not in lines
    assert REDACTED in lines


@pytest.mark.parametrize("form", ["json", "console"])
def test_the_log_hides_secrets_but_not_our_own_words(form: Any, capsys: pytest.CaptureFixture[str]) -> None:
    redactor = Redactor()
    for value in (VALUE, "completed", "because"):
        redactor.remember(value, "acme")
    log = build_logger(form, "INFO", redactor).bind(worker_id="w1")
    try:
        raise ValueError(f"cannot use {VALUE}")
    except ValueError as error:
        log.error("internal_error", organization="acme", exc_info=error, what=[VALUE])
    log.warning("task", organization="rival", outcome="completed", reason="because")
    lines = capsys.readouterr().err
    assert "quoted" not in lines
    assert "cannot use [redacted]" in lines
    assert "completed" in lines
    assert "because" in lines


def test_a_line_without_an_organization_hides_everybodys(capsys: pytest.CaptureFixture[str]) -> None:
    redactor = Redactor()
    redactor.remember("acme-secret-value", "acme")
    build_logger("json", "INFO", redactor).error("exchange_refused", error="said acme-secret-value")
    assert "acme-secret-value" not in capsys.readouterr().err
