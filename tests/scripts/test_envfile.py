"""The block in .env: ours is replaced, everything else stays byte for byte."""

from pathlib import Path

import pytest

from localstack import envfile
from localstack.errors import StackError

VALUES = {"SUPABASE_URL": "http://127.0.0.1:6010", "JWT_SECRET": "abc"}


def test_a_new_file_holds_the_block_and_is_private(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    assert envfile.publish(file, VALUES) == []
    assert envfile.read(file) == VALUES
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "own",
    [
        "ANTHROPIC_API_KEY=sk-ant-1\n",
        "# mine\n\nexport A='x y'  # why\nB=\"$A\"\n\n\n",
        "NO_NEWLINE_AT_THE_END=1",
    ],
)
def test_foreign_lines_stay_through_many_changes(tmp_path: Path, own: str) -> None:
    file = tmp_path / ".env"
    file.write_text(own)
    envfile.publish(file, VALUES)
    first = file.read_text()
    assert first.startswith(own)
    envfile.publish(file, VALUES)
    assert file.read_text() == first
    file.write_text(f"{first}AFTER=1\n")
    envfile.publish(file, VALUES | {"JWT_SECRET": "changed"})
    assert file.read_text().startswith(own)
    assert envfile.read(file)["AFTER"] == "1"
    assert envfile.read(file)["JWT_SECRET"] == "changed"
    assert file.read_text().count(envfile.BEGIN) == 1


def test_a_variable_of_the_users_wins_and_is_reported(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("SUPABASE_URL=https://hosted.example\nJWT_SECRET=\n")
    assert envfile.publish(file, VALUES) == ["SUPABASE_URL"]
    assert envfile.read(file) == {"SUPABASE_URL": "https://hosted.example", "JWT_SECRET": "abc"}


def test_a_block_without_its_end_is_not_guessed_at(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(f"{envfile.BEGIN}\nJWT_SECRET=old\nMINE=1\n")
    with pytest.raises(StackError, match="missing"):
        envfile.publish(file, VALUES)
    assert "MINE=1" in file.read_text()
