"""Makes pydantic-ai models for the providers an operator has set up.

Keys and addresses come from the settings only, never from an agent's row. The providers' own retries are off: when
to try again is decided in the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self, assert_never

import httpx2
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.ollama import OllamaModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.ollama import OllamaProvider
from pydantic_ai.providers.openai import OpenAIProvider

from workers.errors import TaskFailure
from workers.settings import Provider, ProviderSettings

# A stream that ends without saying why was cut off; it must not pass for an answer.
_WHOLE = OpenAIModelProfile(openai_chat_streaming_requires_finish_reason=True)
# Ollama asks for no key, its OpenAI-compatible client does.
_NO_KEY = "none"


class Providers:
    """The model providers of a worker, on one HTTP connection pool; use as a context manager."""

    def __init__(self, settings: Mapping[Provider, ProviderSettings], *, read_timeout: float = 300.0) -> None:
        self._settings = settings
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(read_timeout, connect=10.0),
            limits=httpx2.Limits(max_connections=1000, max_keepalive_connections=100),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    def model(self, provider: Provider, name: str) -> Model:
        """Return the model to call.

        Raises:
            TaskFailure: provider_key_missing, naming the variable that the operator must set.
        """
        settings = self._settings[provider]
        if settings.key_variable is not None and settings.api_key is None:
            raise TaskFailure(
                "provider_key_missing",
                f"No key for {provider} is set up: the operator of the worker must set {settings.key_variable}.",
                data={"provider": provider, "variable": settings.key_variable},
            )
        return self._build(provider, name, settings.api_key or _NO_KEY, settings.base_url)

    def key_variable(self, provider: Provider) -> str:
        """Return the name of the variable that holds the provider's key, for messages."""
        return self._settings[provider].key_variable or f"{provider.upper()}_API_KEY"

    def _build(self, provider: Provider, name: str, key: str, url: str) -> Model:
        if provider == "anthropic":
            anthropic = AsyncAnthropic(api_key=key, base_url=url, max_retries=0, http_client=self._http)
            return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=anthropic))
        if provider == "openai":
            openai = AsyncOpenAI(api_key=key, base_url=url, max_retries=0, http_client=self._http)
            return OpenAIChatModel(name, provider=OpenAIProvider(openai_client=openai), profile=_WHOLE)
        if provider == "ollama":
            ollama = AsyncOpenAI(api_key=key, base_url=url, max_retries=0, http_client=self._http)
            return OllamaModel(name, provider=OllamaProvider(openai_client=ollama), profile=_WHOLE)
        if provider == "google":
            return GoogleModel(name, provider=GoogleProvider(api_key=key, base_url=url, http_client=self._http))
        assert_never(provider)
