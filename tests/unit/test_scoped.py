"""The token of an organization's own worker in its process: read, renewed, sent, and what is said when it ends."""

from __future__ import annotations

from pathlib import Path

import jwt
import pytest

from tests.unit.http_server import Reply, Seen, json_reply, serve
from workers.errors import BackendRefused, BackendUnavailable, SettingsError
from workers.scoped import OwnSecrets, WorkerToken, connect
from workers.settings import load_settings

BASE = {"SUPABASE_URL": "http://127.0.0.1:1", "SUPABASE_ANON_KEY": "anon"}


def made(organization: str = "acme", number: int = 1) -> str:
    claims = {"role": "organization_worker", "organization_slug": organization, "jti": str(number)}
    return jwt.encode(claims, "a secret of at least thirty-two letters", algorithm="HS256")


def test_a_token_says_its_organization() -> None:
    token = WorkerToken(f" {made()}\n")
    assert (token.organization, token.variable, token.renewable) == ("acme", "WORKER_TOKEN", False)
    assert token.current() == made()


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "..", "a.e30.c", jwt.encode({}, "k" * 32), "ä.ö.ü"])
def test_what_is_no_token_of_a_worker_is_refused_by_name(text: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="WORKER_TOKEN holds no token"):
        WorkerToken(text)
    file = tmp_path / "token"
    file.write_text(text)
    with pytest.raises(SettingsError, match="WORKER_TOKEN_FILE holds no token"):
        WorkerToken(file=file)


def test_a_file_is_read_again_when_it_changes_and_every_token_is_hidden(tmp_path: Path) -> None:
    file = tmp_path / "token"
    hidden: list[str] = []
    file.write_text(f"{made(number=1)}\n")
    token = WorkerToken(file=file, remember=hidden.append)
    assert token.current() == token.current() == made(number=1)
    file.write_text(made(number=200))
    assert token.current() == made(number=200)
    assert hidden == [made(number=1), made(number=200)]


@pytest.mark.parametrize("damage", ["", "half.a", None])
def test_a_file_that_is_gone_or_half_written_leaves_the_token_in_force(tmp_path: Path, damage: str | None) -> None:
    file = tmp_path / "token"
    file.write_text(made())
    token = WorkerToken(file=file)
    file.unlink()
    if damage is not None:
        file.write_text(damage)
    assert token.current() == made()
    file.write_text(made(number=22))
    assert token.current() == made(number=22)


async def test_calls_carry_the_anonymous_key_and_the_token_and_name_the_scoped_function() -> None:
    def answer(_seen: Seen) -> Reply:
        return json_reply([])

    with serve(answer) as server:
        async with connect(server.url, "anon", made()) as database:
            assert await database.call("agents_to_call", {"slugs": []}) == []
            await database.stop_worker("w")
    first, second = server.seen
    assert [first.path, second.path] == ["/rest/v1/rpc/scoped_agents_to_call", "/rest/v1/rpc/scoped_stop_worker"]
    assert first.headers["apikey"] == "anon"
    assert first.headers["authorization"] == f"Bearer {made()}"


@pytest.mark.parametrize(
    ("status", "in_file", "expected", "advice"),
    [
        (401, False, BackendRefused, "start the worker again with a new one"),
        (401, True, BackendUnavailable, "WORKER_TOKEN_FILE: waiting for a new one"),
        (403, True, BackendRefused, "start the worker again with a new one"),
    ],
)
async def test_a_refused_token_ends_the_worker_unless_another_may_come(
    tmp_path: Path, status: int, in_file: bool, expected: type[Exception], advice: str
) -> None:
    body = {"code": "PGRST303", "message": "JWT expired", "details": None, "hint": None}
    file = tmp_path / "token"
    file.write_text(made())
    token = WorkerToken(file=file) if in_file else WorkerToken(made())
    with serve(lambda _seen: json_reply(body, status)) as server:
        async with connect(server.url, "anon", token) as database:
            with pytest.raises(expected) as raised:
                await database.call("agents_to_call", {})
    assert "JWT expired" in str(raised.value)
    assert advice in str(raised.value)


def test_settings_take_the_token_in_place_of_the_key() -> None:
    env = {**BASE, "WORKER_TOKEN": made(), "ORGANIZATION_SECRET_A_KEY": "v"}
    settings = load_settings(env)
    assert (settings.supabase_key, settings.worker_token) == ("anon", made())
    assert settings.own_secrets == {"A_KEY": "v"}
    assert made() not in repr(settings)


@pytest.mark.parametrize("other", ["SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_SECRET_KEY", "WORKER_TOKEN_FILE"])
def test_a_token_beside_another_right_is_an_error(other: str) -> None:
    with pytest.raises(SettingsError, match=f"WORKER_TOKEN and {other} are both set"):
        load_settings({**BASE, "WORKER_TOKEN": made(), other: "x"})


async def test_own_secrets_answer_as_the_database_does() -> None:
    arguments = {"organization_slug": "acme", "names": ["A", "B"]}
    answer = await OwnSecrets({"A": "1", "C": "3"}).call("read_organization_secrets", arguments)
    assert answer == [{"name": "A", "value": "1"}]
