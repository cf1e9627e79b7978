"""scripts/demo --project: what it prints is what the README shows."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import psycopg
import pytest

from tests.stack import VARIABLES, Stack
from tests.workers.conftest import WorkerProcess, wait_for

ROOT = Path(__file__).parents[2]


@pytest.fixture
def demo(stack: Stack, tmp_path: Path) -> Iterator[ModuleType]:
    """Give the demo's module beside an offline worker for demo-org; its users are deleted afterwards."""
    spec = importlib.util.spec_from_file_location("demo", ROOT / "scripts/lib/demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    worker = WorkerProcess(
        stack, tmp_path, ["--organization", "demo-org"], {"LLM_OFFLINE": "1", "LLM_OFFLINE_DELAY": "0.1"}
    )
    try:
        wait_for(lambda: worker.lines(event="started") or not worker.alive, 60, "the worker starts")
        yield module
    finally:
        worker.kill()
        with psycopg.connect(stack.database_url) as connection:
            connection.execute("delete from auth.users where email like 'demo-%@example.com'")


@pytest.mark.filterwarnings("ignore:The '(timeout|verify)' parameter is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_readme_draws_what_a_real_run_printed(
    demo: ModuleType, stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {name: getattr(stack, field) for field, name in VARIABLES.items()}
    readme = (ROOT / "README.md").read_text()
    (command,) = re.findall(r'^\./scripts/demo --project "(.+?)"', readme, flags=re.MULTILINE)
    demo.one_project(demo.sign_up(environment), command)
    printed = capsys.readouterr().out
    _, found, drawing = printed.partition("flowchart TD\n")
    assert found, printed
    assert drawing.count(":::") == drawing.count(":::completed") > 5
    (shown,) = re.findall(r"^```mermaid\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)
    assert found + drawing == shown
