"""scripts/demo --project: what it prints is what the README shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.stack import VARIABLES, Stack
from tests.workers.conftest import WorkerProcess
from tests.workers.waiting import wait_for

ROOT = Path(__file__).parents[2]
STORY = "import os, sys, demo; demo.one_project(demo.sign_up(dict(os.environ)), sys.argv[1])"


@pytest.fixture
def worker_of_demo_org(stack: Stack, tmp_path: Path) -> Iterator[None]:
    """Run an offline worker for demo-org; the demo's users are deleted afterwards."""
    options = ["--organization", "demo-org"]
    worker = WorkerProcess(stack, tmp_path, options, {"LLM_OFFLINE": "1", "LLM_OFFLINE_DELAY": "0.1"})
    try:
        wait_for(lambda: worker.lines(event="started") or not worker.alive, 60, "the worker starts")
        yield
    finally:
        worker.kill()
        with psycopg.connect(stack.database_url) as connection:
            connection.execute("delete from auth.users where email like 'demo-%@example.com'")


@pytest.mark.usefixtures("worker_of_demo_org")
def test_the_readme_draws_what_a_real_run_printed(stack: Stack) -> None:
    readme = (ROOT / "README.md").read_text()
    (wish,) = re.findall(r'^\./scripts/demo --project "(.+?)"', readme, flags=re.MULTILINE)
    environment = os.environ | {name: getattr(stack, field) for field, name in VARIABLES.items()}
    command = [sys.executable, "-c", STORY, wish]
    told = subprocess.run(
        command, cwd=ROOT / "scripts/lib", env=environment, capture_output=True, text=True, check=False, timeout=100
    )
    assert told.returncode == 0, told.stderr
    _, found, drawing = told.stdout.partition("flowchart TD\n")
    assert drawing.count(":::") == drawing.count(":::completed") > 5
    (shown,) = re.findall(r"^```mermaid\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)
    assert found + drawing == shown
