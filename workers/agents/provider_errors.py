"""Translates what pydantic-ai raises into failures with stable codes, by type and status, never by text."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic_ai import exceptions as ai

from workers.errors import ErrorCode, TaskFailure

_MAX_DETAIL_CHARS = 300


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What an exception type means; `message` is a template of provider, model, key and detail."""

    code: ErrorCode
    message: str
    retryable: bool = False
    field: str | None = None


_UNAVAILABLE = _Meaning("provider_unavailable", "{provider} cannot be reached or had an error of its own.", True)
_REJECTED = _Meaning("agent_misconfigured", "{provider} did not accept the request{detail}", field="llm_config")

# The first type that matches counts, so what is more specific stands first.
_MEANINGS: tuple[tuple[type[ai.ModelAPIError], _Meaning], ...] = (
    (
        ai.ModelAuthenticationError,
        _Meaning(
            "provider_auth_failed",
            "{provider} does not accept the key: check {key}.",
        ),
    ),
    (
        ai.ModelQuotaExceededError,
        _Meaning("provider_rate_limited", "The account at {provider} has used up its quota: it is that of {key}."),
    ),
    (ai.ModelRateLimitError, _Meaning("provider_rate_limited", "{provider} is limiting requests.", True)),
    (ai.ModelOverloadedError, _Meaning("provider_overloaded", "{provider} is overloaded.", True)),
    (ai.ModelTimeoutError, _Meaning("timeout", "{provider} did not answer in time.", True)),
    (ai.ModelRequestTimeout, _Meaning("timeout", "{provider} did not answer in time.", True)),
    (
        ai.ModelContextWindowExceededError,
        _Meaning("context_too_long", "The prompt with its history is too long for {provider} {model}."),
    ),
    (
        ai.ModelNotFoundError,
        _Meaning(
            "agent_misconfigured",
            "{provider} does not know the model {model!r}: change the agent's llm_config.model.",
            field="llm_config.model",
        ),
    ),
    (ai.ModelRequestRejectedError, _REJECTED),
)


def translate(error: Exception, *, provider: str, model: str, key: str) -> TaskFailure | None:
    """Return the failure that `error` means, None when it is not an error of the provider or the agent's setting.

    `key` is what to call the key of the call, never the key itself.
    """
    if isinstance(error, ai.ModelAPIError):
        return _api_failure(error, provider, model, key)
    if isinstance(error, ai.ContentFilterError):
        return refused(provider)
    if isinstance(error, ai.UnexpectedModelBehavior):
        return TaskFailure("output_invalid", f"{provider} {model} gave an answer that cannot be used.", retryable=True)
    if isinstance(error, ai.UserError):
        return TaskFailure(
            "agent_misconfigured",
            f"The agent cannot be run as it is set up: {error.message[:_MAX_DETAIL_CHARS]}",
            data={"field": "llm_config"},
        )
    return None


def refused(provider: str) -> TaskFailure:
    """Return the failure for content that the provider does not want to take or to write."""
    return TaskFailure("provider_refused", f"{provider} refused the content: change the prompt.")


def broken_off(provider: str) -> TaskFailure:
    """Return the failure for an answer that ended early or was not the provider's protocol."""
    return TaskFailure("provider_unavailable", f"The answer of {provider} broke off or was garbled.", retryable=True)


def _api_failure(error: ai.ModelAPIError, provider: str, model: str, key: str) -> TaskFailure:
    status = error.status_code if isinstance(error, ai.ModelHTTPError) else None
    otherwise = _REJECTED if status is not None and status < 500 else _UNAVAILABLE
    meaning = next((meaning for kind, meaning in _MEANINGS if isinstance(error, kind)), otherwise)
    data = {"provider": provider, "model": model, "status": status, "field": meaning.field}
    return TaskFailure(
        meaning.code,
        meaning.message.format(provider=provider, model=model, key=key, detail=_detail(error.body)),
        retryable=meaning.retryable,
        retry_after=error.retry_after if meaning.retryable else None,
        data={name: value for name, value in data.items() if value is not None},
    )


def _detail(body: object) -> str:
    """Return the provider's own message about a refused request, which holds no secret, as the end of a sentence."""
    inner = body.get("error", body) if isinstance(body, dict) else None
    message = inner.get("message") if isinstance(inner, dict) else None
    return f": {message[:_MAX_DETAIL_CHARS]}" if isinstance(message, str) else "."
