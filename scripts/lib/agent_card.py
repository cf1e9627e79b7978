"""Prints the A2A card of an agent as YAML, as the function agent_card gives it. Called by scripts/agent-card."""

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

import httpx
from dotenv import dotenv_values

from localstack import instance
from localstack.errors import StackError
from localstack.paths import DOTENV

KEYS = ("SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_SECRET_KEY")
EPILOG = """\
The agent is looked up where SUPABASE_URL says, with SUPABASE_SERVICE_ROLE_KEY or SUPABASE_SECRET_KEY (environment or
.env), or on a local stack with --name. With A2A_PUBLIC_URL set the card names that server (python -m workers a2a).
"""


def main() -> int:
    """0 when the card was printed, 1 when there is none."""
    parser = argparse.ArgumentParser(
        prog="scripts/agent-card",
        description="Prints the A2A card of an agent as YAML.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("slug", metavar="SLUG", help="the agent, e.g. blog-post-writer")
    parser.add_argument("--name", help="instance of the local stack to ask, whatever the environment says")
    parser.add_argument("--json", action="store_true", help="print JSON instead")
    options = parser.parse_args()
    try:
        card = fetch(options.slug, environment(options.name))
    except (StackError, httpx.HTTPError) as error:
        hint = getattr(error, "hint", None) or "start the local stack (./scripts/stack up), or correct SUPABASE_URL"
        print(f"agent-card: {error}", hint, sep="\n", file=sys.stderr)
        return 1
    print(json.dumps(card, ensure_ascii=False, indent=2) if options.json else "\n".join(yaml_lines(card)))
    return 0


def environment(name: str | None) -> dict[str, str]:
    """The variables of the instance named, else the environment laid over .env."""
    if name is not None:
        return {**os.environ, **instance.require(name).environment()}
    from_file = {key: value for key, value in dotenv_values(DOTENV).items() if value}
    return {**from_file, **{key: value for key, value in os.environ.items() if value}}


def fetch(slug: str, env: dict[str, str]) -> dict[str, Any]:
    """The card; raises StackError with what to do when there is none."""
    key = next((env[variable] for variable in KEYS if env.get(variable)), None)
    if key is None or not env.get("SUPABASE_URL"):
        raise StackError("SUPABASE_URL and a service key are not set", "start the local stack: ./scripts/stack up")
    url = f"{env['SUPABASE_URL'].rstrip('/')}/rest/v1/rpc/agent_card"
    headers = {"apikey": key} | ({"Authorization": f"Bearer {key}"} if key.startswith("ey") else {})
    answer = httpx.post(url, json={"slug": slug}, headers=headers, timeout=10, trust_env=False)
    if not answer.is_success:
        told = answer.json() if "json" in answer.headers.get("content-type", "") else {}
        raise StackError(
            str(told.get("details") or told.get("message") or answer.status_code), str(told.get("hint") or "see --help")
        )
    card: dict[str, Any] = answer.json()
    if public := env.get("A2A_PUBLIC_URL"):
        for interface in card["supportedInterfaces"]:
            interface["url"] = re.sub(r"^https?://[^/]+(?=/a2a/)", public.rstrip("/"), interface["url"])
    return card


def yaml_lines(value: Any, indent: str = "") -> Iterator[str]:
    """Lines of YAML in block style, for JSON that is an object or list with something in it."""
    items = value.items() if isinstance(value, dict) else (("-", item) for item in value)
    for key, item in items:
        label = "-" if isinstance(value, list) else f"{key if re.fullmatch(r'[A-Za-z_]+', key) else scalar(key)}:"
        if not isinstance(item, dict | list) or not item:
            yield f"{indent}{label} {scalar(item)}"
        elif isinstance(value, list):
            first, *rest = yaml_lines(item, f"{indent}  ")
            yield f"{indent}- {first.lstrip()}"
            yield from rest
        else:
            yield f"{indent}{label}"
            yield from yaml_lines(item, f"{indent}  ")


def scalar(value: Any) -> str:
    """A JSON value on one line, which is YAML too; text that nobody could take for something else goes bare."""
    words = isinstance(value, str) and re.fullmatch(r"[A-Za-z][A-Za-z /-]*[A-Za-z]", value)
    if words and value.lower() not in {"true", "false", "null", "yes", "no", "on", "off"}:
        return str(value)
    # The line breaks of Unicode and DEL stay escaped: YAML would fold or refuse them.
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda found: f"\\u{ord(found[0]):04x}", text)


if __name__ == "__main__":
    sys.exit(main())
