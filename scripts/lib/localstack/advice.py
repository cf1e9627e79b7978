"""Asks Supabase's own advisors (security and performance, down to level info) about a running stack's database."""

import argparse
import json
import sys

from localstack import instance, migrations
from localstack.errors import StackError
from localstack.instance import DEFAULT_NAME

# What is not taken to heart, and why.
EXCEPTIONS = {"unused_index": "a fresh database has not used any index yet"}


def main() -> int:
    """0 when nobody has anything to say, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m localstack.advice", description=__doc__)
    parser.add_argument("--name", default=DEFAULT_NAME, help="instance to ask about (default: %(default)s)")
    try:
        stack = instance.require(parser.parse_args().name)
        output = migrations.run_cli("db", "advisors", "--level=info", "--fail-on=none", migrations.remote(stack))
    except StackError as error:
        print(f"advice: {error}", *filter(None, [error.hint]), sep="\n", file=sys.stderr)
        return 1
    advice = json.JSONDecoder().raw_decode(output[output.index("[") :])[0]
    kept = [item for item in advice if item["name"] not in EXCEPTIONS]
    for item in kept:
        print(f"{item['level']} {item['name']}: {item['detail']}")
    return 1 if kept else 0


if __name__ == "__main__":
    sys.exit(main())
