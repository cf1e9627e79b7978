"""Runs the tests that are written as frontends are: in JavaScript, with the real supabase-js."""

import os
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from tests.stack import VARIABLES, Stack

HERE = Path(__file__).parent
TIMEOUT_SECONDS = 120


@pytest.mark.parametrize("path", sorted(HERE.glob("*.test.mjs")), ids=lambda path: path.name)
def test_a_frontend_in_javascript(path: Path, stack: Stack) -> None:
    addresses = {VARIABLES[field.name]: getattr(stack, field.name) for field in fields(stack)}
    node = subprocess.Popen(
        ["node", "--test", "--test-reporter=spec", str(path)],
        env={**os.environ, **addresses, "PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = node.communicate(timeout=TIMEOUT_SECONDS)
    finally:
        if node.poll() is None:  # It hangs, or pytest was interrupted: take the worker it started along.
            os.killpg(node.pid, signal.SIGKILL)
            output, _ = node.communicate()
            print(output)
    assert node.returncode == 0, output
