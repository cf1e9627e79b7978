"""`python -m workers secrets`, as processes on the real stack."""

from __future__ import annotations

import os
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from tests.workers.conftest import Lab
from workers.__main__ import main
from workers.keyring import Keyring, new_key

SECRET = "a secret, with ünïcode"


def command(*arguments: str, folder: Path, text: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command with no environment but what it is given."""
    return subprocess.run(
        [sys.executable, "-m", "workers", "secrets", *arguments],
        input=text,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def test_a_new_key_encrypts_a_secret_that_only_it_decrypts(tmp_path: Path) -> None:
    key = command("new-key", folder=tmp_path).stdout.strip()
    done = command("encrypt", folder=tmp_path, text=f"{SECRET}\n", ORCHESTRATOR_SECRETS_KEY=f"{key},{new_key()}")
    assert (done.returncode, done.stderr) == (0, "")
    assert Fernet(key).decrypt(done.stdout.strip()).decode() == SECRET


@pytest.mark.parametrize(
    ("text", "environment", "tells"),
    [
        (SECRET, {}, "ORCHESTRATOR_SECRETS_KEY is not set"),
        (SECRET, {"ORCHESTRATOR_SECRETS_KEY": "short"}, "key number 1 is not a Fernet key"),
        ("\n", {"ORCHESTRATOR_SECRETS_KEY": new_key()}, "there is no secret on standard input"),
        ("x" * 65_537, {"ORCHESTRATOR_SECRETS_KEY": new_key()}, "over 64 KiB"),
    ],
    ids=["no key", "bad key", "nothing", "too large"],
)
def test_what_cannot_be_encrypted_says_why_and_is_not_shown(
    text: str,
    environment: dict[str, str],
    tells: str,
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(text.encode())))
    monkeypatch.setattr("os.environ", environment)
    assert main(["secrets", "encrypt"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert tells in said.err
    assert SECRET not in said.err
    assert "short" not in said.err


@pytest.mark.parametrize("arguments", [[], ["new-key"], ["encrypt"], ["rotate"]])
def test_every_command_explains_itself(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["secrets", *arguments, "--help"])
    assert left.value.code == 0
    assert "To change the key" in capsys.readouterr().out


def test_rotation_puts_secrets_and_git_credentials_under_the_first_key(own_lab: Lab, tmp_path: Path) -> None:
    old, new = new_key(), new_key()
    slug, names = own_lab.organization, [f"KEY_{number}" for number in range(25)]  # More than one batch.
    for name in names:
        token = Keyring([old]).encrypt(f"value of {name}")
        own_lab.post("rpc/set_organization_secret", organization_slug=slug, name=name, ciphertext=token)
    foreign = Keyring([new_key()]).encrypt("x")
    own_lab.post("rpc/set_organization_secret", organization_slug=slug, name="FOREIGN", ciphertext=foreign)
    git = {"organization_slug": slug, "name": "r", "git_url": "https://git.example.com/r.git"}
    (repository,) = own_lab.post("agent_repositories", **git)
    token = Keyring([old]).encrypt("git token")
    own_lab.post("rpc/set_git_credential", repository_id=repository["id"], encrypted_token=token)
    stack = own_lab.stack
    env = {"SUPABASE_URL": stack.url, "SUPABASE_SERVICE_ROLE_KEY": stack.service_role_key}

    done = command("rotate", folder=tmp_path, ORCHESTRATOR_SECRETS_KEY=f"{new},{old}", **env)
    assert done.returncode == 1, done.stderr  # FOREIGN is left, and said to be.
    assert "organization_secrets: 25 put under the first key" in done.stdout
    assert "git_credentials: 1 put under the first key" in done.stdout
    assert "do not take the old key out yet" in done.stdout
    after = Keyring([new])
    read = own_lab.post("rpc/read_organization_secrets", organization_slug=slug, names=[*names, "FOREIGN"])
    values = {row["name"]: after.decrypt(row["ciphertext"]) for row in read}
    assert values == {name: f"value of {name}" for name in names} | {"FOREIGN": None}
    assert {row["version"] for row in read} == {1}
    credential = own_lab.post("rpc/read_git_credential", repository_id=repository["id"])
    assert after.decrypt(credential["encrypted_token"]) == "git token"

    again = command("rotate", folder=tmp_path, ORCHESTRATOR_SECRETS_KEY=f"{new},{old}", **env)
    assert "organization_secrets: 0 put under the first key" in again.stdout
    assert not [key for key in (old, new, "value of", foreign) if key in done.stdout + done.stderr + again.stdout]
