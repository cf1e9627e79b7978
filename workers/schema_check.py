"""Checks documents against the JSON Schemas of agent rows, which tenants write and nobody has reviewed.

Draft 2020-12. Nothing is fetched, whatever `$ref` says; the work of one check is bounded in steps and in time, and
regular expressions run in an engine that can be stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from workers.errors import TaskFailure

MAX_PROBLEMS = 20
_MAX_SCHEMA_CHARS = 256_000
_MAX_STEPS = 500_000
_MAX_SECONDS = 1.0
_REGEX_SECONDS = 0.5
_MAX_MESSAGE_CHARS = 300

Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]


class _BudgetError(Exception):
    """A check ran out of its steps or its time."""


def check_document(document: Any, schema: Any, *, field: str) -> list[dict[str, str]]:
    """Return what is wrong with `document`: at most 20 of {path, message}, the path in JSONPath from `$`.

    `field` names where the schema stands, e.g. `io_schema.input`, for the message to the agent's owner.

    Raises:
        TaskFailure: agent_misconfigured, when the schema is invalid or too costly to check.
    """
    try:
        checker = _compile(schema, field)
        problems = []
        for error in checker.iter_errors(document):
            problems.append({"path": error.json_path, "message": error.message[:_MAX_MESSAGE_CHARS]})
            if len(problems) == MAX_PROBLEMS:
                break
        return problems
    except Unresolvable as error:
        raise _misconfigured(field, f"holds a $ref that is not within the schema: {error.ref[:100]}") from None
    except (RecursionError, _BudgetError, TimeoutError):
        raise _misconfigured(field, "takes too long to check: make it simpler") from None
    except (regex.error, ValueError, TypeError, OverflowError) as error:
        raise _misconfigured(field, f"cannot be used: {str(error)[:200]}") from None


def _compile(schema: Any, field: str) -> Validator:
    if not isinstance(schema, dict):
        raise _misconfigured(field, "must be a JSON object")
    text = json.dumps(schema)
    if len(text) > _MAX_SCHEMA_CHARS:
        raise _misconfigured(field, f"is larger than {_MAX_SCHEMA_CHARS} characters")
    if '"patternProperties"' in text and '"unevaluatedProperties"' in text:
        raise _misconfigured(field, "combines patternProperties and unevaluatedProperties, which is not supported")
    plain = _without_dialects(schema)
    try:
        Draft202012Validator.check_schema(plain)
    except SchemaError as error:
        raise _misconfigured(field, f"is not a valid JSON Schema at {error.json_path}: {error.message[:200]}") from None
    return _bounded_validator()(plain, registry=Registry())


def _misconfigured(field: str, problem: str) -> TaskFailure:
    return TaskFailure("agent_misconfigured", f"The agent's {field} {problem}.", data={"field": field})


def _without_dialects(schema: Any) -> Any:
    """Drop every `$schema` keyword: it would exchange the bounded validator for an unbounded one."""
    if isinstance(schema, dict):
        return {
            key: _without_dialects(value)
            for key, value in schema.items()
            if not (key == "$schema" and isinstance(value, str))
        }
    if isinstance(schema, list):
        return [_without_dialects(value) for value in schema]
    return schema


def _bounded_validator() -> type[Validator]:
    """Return a Draft 2020-12 validator whose keywords share one budget of steps and time."""
    keywords = _Keywords()
    own: dict[str, Keyword] = {
        "additionalProperties": keywords.additional_properties,
        "pattern": keywords.pattern,
        "patternProperties": keywords.pattern_properties,
        "uniqueItems": keywords.unique_items,
    }
    standard: Mapping[str, Keyword] = Draft202012Validator.VALIDATORS
    guarded = {name: keywords.guard(own.get(name, check)) for name, check in standard.items()}
    bounded: type[Validator] = extend(Draft202012Validator, validators=guarded)  # type: ignore[no-untyped-call]
    return bounded


class _Keywords:
    """The keywords that the library does not bound by itself, and the budget that all keywords of a check share."""

    def __init__(self) -> None:
        self._steps = _MAX_STEPS
        self._until = time.monotonic() + _MAX_SECONDS

    def guard(self, check: Keyword) -> Keyword:
        """Return the keyword's check so that it draws on the budget."""

        def guarded(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError] | None:
            self._spend()
            return check(validator, value, instance, schema)

        return guarded

    def pattern(self, validator: Any, pattern: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        if validator.is_type(instance, "string") and not self._search(pattern, instance):
            yield ValidationError(f"{instance!r} does not match {pattern!r}")

    def pattern_properties(self, validator: Any, given: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        if not validator.is_type(instance, "object"):
            return
        for pattern, subschema in given.items():
            for name, value in instance.items():
                if self._search(pattern, name):
                    yield from validator.descend(value, subschema, path=name, schema_path=pattern)

    def additional_properties(
        self, validator: Any, allowed: Any, instance: Any, schema: Any
    ) -> Iterator[ValidationError]:
        if not validator.is_type(instance, "object"):
            return
        named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        extras = [name for name in instance if name not in named and not any(self._search(p, name) for p in patterns)]
        if validator.is_type(allowed, "object"):
            for name in extras:
                yield from validator.descend(instance[name], allowed, path=name)
        elif not allowed and extras:
            listed = ", ".join(repr(name) for name in extras[:5])
            yield ValidationError(f"Additional properties are not allowed: {listed}")

    def unique_items(self, validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        # The library compares every pair of objects; canonical text needs one pass.
        if wanted and validator.is_type(instance, "array"):
            seen = {json.dumps(_number_free(item), sort_keys=True) for item in instance}
            if len(seen) < len(instance):
                yield ValidationError("The items are not unique")

    def _search(self, pattern: str, text: str) -> bool:
        self._spend()
        return regex.search(pattern, text, timeout=_REGEX_SECONDS) is not None

    def _spend(self) -> None:
        self._steps -= 1
        if self._steps < 0 or time.monotonic() > self._until:
            raise _BudgetError


def _number_free(value: Any) -> Any:
    """Return `value` with equal numbers written equally: JSON Schema holds 1 and 1.0 to be the same."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _number_free(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_number_free(entry) for entry in value]
    return value
