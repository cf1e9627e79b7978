"""Writes the types of the database's rows, from the running stack: for Python (pydantic) and for TypeScript."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from localstack import instance, migrations
from localstack.errors import StackError
from localstack.instance import DEFAULT_NAME, Instance
from localstack.paths import NODE_MODULES, ROOT

PYTHON = ROOT / "workers" / "models.py"
TYPESCRIPT = ROOT / "tests" / "api" / "database.types.ts"
# Columns named like a method of pydantic's BaseModel: the field gets a trailing underscore, the alias keeps the name.
_SHADOWING = re.compile(r"(?m)^(class \w+\(BaseModel\):\n(?: {4}.*\n)*? {4})(schema|json|copy|dict): (.+)$")
_NOTICE = "Generated from the database by ./scripts/gen-models: do not edit."


def main() -> int:
    """Writes both files; with --check only compares them and exits with 1 when one is out of step."""
    parser = argparse.ArgumentParser(prog="scripts/gen-models", description=__doc__)
    parser.add_argument("--name", default=DEFAULT_NAME, help="instance to read (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="only tell whether the files fit the database")
    options = parser.parse_args()
    try:
        stack = instance.require(options.name)
        wanted = {PYTHON: python_models(stack), TYPESCRIPT: typescript_types(stack)}
    except StackError as error:
        print(f"gen-models: {error}", *filter(None, [error.hint]), sep="\n", file=sys.stderr)
        return 1
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        name = path.relative_to(ROOT)
        if options.check:
            print(f"gen-models: {name} is out of step with the database: run ./scripts/gen-models", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path])
            print(f"gen-models: wrote {name}")
    return 1 if options.check and stale else 0


def python_models(stack: Instance) -> str:
    """Pydantic models of every table and view in public, formatted; aliases only where the name differs."""
    text = f'"""{_NOTICE}"""\n\n{_generate(stack, "python")}'
    text = re.sub(r'^(    (\w+): .+) = Field\(alias="\2"\)$', r"\1", text, flags=re.MULTILINE)
    text = re.sub(r'^(    (\w+): .*)Annotated\[(.+), Field\(alias="\2"\)\](\]?)$', r"\1\3\4", text, flags=re.MULTILINE)
    text = _SHADOWING.sub(r'\1\2_: \3 = Field(alias="\2")', text)
    ruff = [str(Path(sys.executable).with_name("ruff"))]
    stdin = ["--stdin-filename", str(PYTHON), "-"]
    text = _filter([*ruff, "check", "--quiet", "--fix-only", "--unsafe-fixes", "--select=F401,I,UP", *stdin], text)
    return _filter([*ruff, "format", "--quiet", *stdin], text)


def typescript_types(stack: Instance) -> str:
    """The type `Database` that supabase-js takes as its parameter, formatted."""
    prettier = str(NODE_MODULES / ".bin" / "prettier")
    text = f"// {_NOTICE}\n{_generate(stack, 'typescript')}"
    return _filter([prettier, "--stdin-filepath", str(TYPESCRIPT)], text)


def _generate(stack: Instance, language: str) -> str:
    return migrations.run_cli("gen", "types", f"--lang={language}", "--schema=public", migrations.remote(stack))


def _filter(command: list[str], text: str) -> str:
    return subprocess.run(command, input=text, check=True, capture_output=True, text=True, cwd=ROOT).stdout


if __name__ == "__main__":
    sys.exit(main())
