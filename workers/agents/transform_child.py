"""The other side of `transforms`: a process of its own that renders templates and runs jq filters, one job at a time.

Started as `python -I transform_child.py CPU_SECONDS WALL_SECONDS MEMORY_BYTES` with an empty environment. It imports
nothing of this package, opens no file once it has begun, and a job that takes too long or too much ends it.

A message is its length in 4 bytes and JSON. It is asked {"do": "check", "filter"}, {"do": "filter", "filter", "input"}
(input is JSON in a text), or {"do": "render", "template", "names"}; it answers {"value"} or {"error", "message"}, with
`error` one of syntax, failed, empty, too_large, too_much, and "last" when it ends with this answer.
"""

from __future__ import annotations

import functools
import json
import re
import resource
import signal
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jinja2
import jinja2.debug  # Imported by jinja2 when a template fails; by then no file can be opened.
import jinja2.nodes
import jinja2.sandbox
import jq  # type: ignore[import-not-found]  # it has no types

MAX_OUTPUT = 10_000_000  # Bytes of an answer.
_MAX_MESSAGE = 2000  # Characters.
_KEEP_KIBIBYTES = 128 * 1024  # Of memory, above which the process does not stay.
_FILTERS = frozenset(
    {"abs", "batch", "capitalize", "count", "d", "default", "dictsort", "first", "float", "groupby", "indent", "int"}
    | {"items", "join", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace"}
    | {"reverse", "round", "select", "selectattr", "slice", "sort", "string", "sum", "title", "trim", "truncate"}
    | {"unique", "upper", "urlencode", "wordcount"}
)
_NOT_TO_USE: tuple[type[jinja2.nodes.Node], ...] = (
    jinja2.nodes.Macro,
    jinja2.nodes.CallBlock,
    jinja2.nodes.FilterBlock,
    jinja2.nodes.AssignBlock,
    jinja2.nodes.Block,
    jinja2.nodes.Extends,
    jinja2.nodes.Include,
    jinja2.nodes.Import,
    jinja2.nodes.FromImport,
)
_MARK = re.compile("\ue000(\\d+)\ue001")
_QUOTE = re.compile(r'\\.|"|\\\Z', re.DOTALL)


class Refused(Exception):  # noqa: N818 - it is an answer
    """A job that cannot be done: why, as `error` and `message` of the answer."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


class Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """Jinja with conditions, loops, assignments and harmless filters: nothing is called but range, nothing imported."""

    def __init__(self) -> None:
        super().__init__(autoescape=False, finalize=self._finalize, keep_trailing_newline=True)
        self.globals = {"range": jinja2.sandbox.safe_range}
        self.filters = {name: self.filters[name] for name in _FILTERS} | {"tojson": _to_json}
        self._values: list[Any] = []

    def render(self, source: str) -> Callable[[Mapping[str, Any]], tuple[str, list[Any]]]:
        """Compile a template; its function gives the text, with a mark in each place where a value belongs."""
        template = _compiled(self, source)

        def run(names: Mapping[str, Any]) -> tuple[str, list[Any]]:
            self._values = []
            pieces, size = [], 0
            for piece in template.generate(names):
                size += len(piece)
                if size > MAX_OUTPUT:
                    raise Refused("too_large", f"It gives more than {MAX_OUTPUT} bytes.")
                pieces.append(piece)
            return "".join(pieces), self._values

        return run

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Find `a.b`: in an object only its own keys, so that no name of a method hides or replaces one."""
        return self.getitem(obj, attribute) if isinstance(obj, dict) else super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Find `a[b]`, likewise."""
        if isinstance(obj, dict):
            found = isinstance(argument, str) and argument in obj
            return obj[argument] if found else self.undefined(obj=obj, name=argument)
        return super().getitem(obj, argument)

    def is_safe_callable(self, obj: Any) -> bool:
        """Say whether a template may call this."""
        return obj is jinja2.sandbox.safe_range

    @jinja2.pass_context
    def _finalize(self, _context: jinja2.runtime.Context, value: Any) -> str:
        """Keep a value that is written out, and write a mark instead."""
        if isinstance(value, jinja2.Undefined):
            raise Refused("failed", f"{value._undefined_message}; give what may be missing a default: | default('')")
        self._values.append(value)
        return f"\ue000{len(self._values) - 1}\ue001"


class _JsonText(str):
    """What `| tojson` gave: JSON already."""


def _to_json(value: Any) -> _JsonText:
    return _JsonText(_dumps(value))


def _dumps(value: Any) -> str:
    if isinstance(value, _JsonText):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        raise Refused("failed", f"A value of type {type(value).__name__} is not JSON.") from None


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else _dumps(value)


@functools.lru_cache(maxsize=256)
def _compiled(environment: Environment, source: str) -> jinja2.Template:
    if "\ue000" in source or "\ue001" in source:
        raise Refused("syntax", "The characters U+E000 and U+E001 cannot be used.")
    try:
        tree = environment.parse(source)
        if any(tree.find(kind) is not None for kind in _NOT_TO_USE):
            raise Refused("syntax", "Only {{ … }}, if, for and set can be used.")
        return environment.from_string(tree)
    except jinja2.TemplateSyntaxError as error:
        raise Refused("syntax", f"{error.message} (line {error.lineno})") from None
    except (jinja2.TemplateError, SyntaxError, ValueError, RecursionError) as error:
        raise Refused("syntax", f"{type(error).__name__}: {error}") from None


@functools.lru_cache(maxsize=256)
def _is_one_expression(environment: Environment, source: str) -> bool:
    body = environment.parse(source).body
    if len(body) != 1 or not isinstance(body[0], jinja2.nodes.Output):
        return False
    return len(body[0].nodes) == 1 and not isinstance(body[0].nodes[0], jinja2.nodes.TemplateData)


def fill_text(text: str, values: list[Any]) -> str:
    """Put the values in their places as they are."""
    return _MARK.sub(lambda mark: _as_text(values[int(mark.group(1))]), text)


def fill_json(text: str, values: list[Any]) -> Any:
    """Put the values in their places in JSON: within quotes as part of that text, elsewhere as JSON values."""
    pieces: list[str] = []
    quoted = False
    for number, piece in enumerate(_MARK.split(text)):
        if number % 2:
            value = values[int(piece)]
            pieces.append(json.dumps(_as_text(value), ensure_ascii=False)[1:-1] if quoted else _dumps(value))
            continue
        for found in _QUOTE.finditer(piece):
            if found.group() == "\\":
                raise Refused("failed", "A backslash stands before a value.")
            quoted ^= found.group() == '"'
        pieces.append(piece)
    try:
        return json.loads("".join(pieces))
    except ValueError as error:
        raise Refused("failed", f"It begins like JSON, but what it gives is not: {error}") from None


def render(environment: Environment, template: Any, names: Mapping[str, Any]) -> Any:
    """Render a template: of an object each text in it, of a text that begins like JSON the JSON, else the text."""
    if not isinstance(template, str):
        return render_leaves(environment, template, names)
    text, values = environment.render(template)(names)
    return fill_json(text, values) if re.match(r"\s*(\{(?![{%#])|\[)", template) else fill_text(text, values)


def render_leaves(environment: Environment, value: Any, names: Mapping[str, Any]) -> Any:
    """Render every text in a JSON value; one that is a single expression keeps the type of what that gives."""
    if isinstance(value, dict):
        return {key: render_leaves(environment, inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [render_leaves(environment, inner, names) for inner in value]
    if not isinstance(value, str) or "{" not in value:
        return value
    text, values = environment.render(value)(names)
    return values[0] if _is_one_expression(environment, value) else fill_text(text, values)


@functools.lru_cache(maxsize=64)
def program(source: str) -> Any:
    """Compile a filter."""
    try:
        return jq.compile(source)
    except ValueError as error:
        raise Refused("syntax", str(error)) from None


def run_filter(source: str, document: str) -> Any:
    """Return the first result of a filter."""
    try:
        for value in program(source).input_text(document):
            return value
    except (ValueError, RecursionError) as error:
        raise Refused("failed", str(error)) from None
    raise Refused("empty", "The filter gives no result.")


def answer(environment: Environment, job: Mapping[str, Any]) -> dict[str, Any]:
    """Do a job."""
    try:
        match job["do"]:
            case "check":
                program(job["filter"])
                return {"value": None}
            case "filter":
                return {"value": run_filter(job["filter"], job["input"])}
            case _:
                return {"value": render(environment, job["template"], job["names"])}
    except Refused as refused:
        return {"error": refused.error, "message": str(refused)[:_MAX_MESSAGE]}
    except MemoryError:
        return {"error": "too_much", "message": "", "last": True}
    except Exception as error:  # Whatever a template can raise: a division by zero, a comparison of text and number.
        return {"error": "failed", "message": f"{type(error).__name__}: {error}"[:_MAX_MESSAGE]}


def encoded(environment: Environment, job: Mapping[str, Any]) -> bytes:
    """Do a job and return its answer as JSON."""
    said = answer(environment, job)
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > _KEEP_KIBIBYTES:
        said["last"] = True  # What it took it would keep.
    try:
        message = json.dumps(said, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        message = json.dumps({"error": "failed", "message": "The result is not JSON."}).encode()
    except MemoryError:
        message = json.dumps({"error": "too_much", "message": "", "last": True}).encode()
    if len(message) > MAX_OUTPUT:
        message = json.dumps({"error": "too_large", "message": f"It gives more than {MAX_OUTPUT} bytes."}).encode()
    return message


def confine(memory: int) -> None:
    """Give up files, processes and memory beyond what is needed."""
    limits = {"RLIMIT_NOFILE": 3, "RLIMIT_NPROC": 0, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0, "RLIMIT_AS": memory}
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, name), (value, value))


def main(cpu_seconds: float, wall_seconds: float, memory: int) -> None:
    """Answer jobs until there is nobody to ask."""
    environment = Environment()
    for warm in ("{{ 'x' }}{% for i in range(1) %}{{ i | tojson }}{% endfor %}", "{{ x.y.z }}", "{{ 1 + 'x' }}", "{{"):
        answer(environment, {"do": "render", "template": warm, "names": {}})
    answer(environment, {"do": "filter", "filter": ".", "input": "1"})
    confine(memory)
    while len(head := sys.stdin.buffer.read(4)) == 4:
        body = sys.stdin.buffer.read(struct.unpack(">I", head)[0])
        # Their signals are not handled, so they end the process, also within one call to C.
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        signal.setitimer(signal.ITIMER_REAL, wall_seconds)
        message = encoded(environment, json.loads(body))
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stdout.buffer.write(struct.pack(">I", len(message)) + message)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
