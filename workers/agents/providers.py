"""Makes pydantic-ai models for the providers an operator has set up.

Keys and addresses come from the settings only, never from an agent's row. The providers' own retries are off: when
to try again is decided in the database.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import httpx2
from pydantic_ai.models import Model

from workers.errors import TaskFailure
from workers.settings import Provider, ProviderSettings

Build = Callable[[str, str, str, httpx2.AsyncClient], Model]

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

    async def model(self, provider: Provider, name: str) -> Model:
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
        # In a thread, because the first import of an SDK takes a second.
        module = await asyncio.to_thread(importlib.import_module, f"workers.agents.models.{provider}")
        build: Build = module.build
        return build(name, settings.api_key or _NO_KEY, settings.base_url, self._http)

    def key_variable(self, provider: Provider) -> str:
        """Return the name of the variable that holds the provider's key, for messages."""
        return self._settings[provider].key_variable or f"{provider.upper()}_API_KEY"
