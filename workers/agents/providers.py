"""Makes pydantic-ai models, with the organization's own key if it has one, else with the operator's if that is lent.

Addresses come from the settings only, never from an agent's row. The providers' own retries are off: when to try
again is decided in the database.
"""

from __future__ import annotations

import asyncio
import importlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import httpx2
from pydantic_ai.models import Model

from workers.errors import TaskFailure
from workers.secrets import Secrets
from workers.settings import Provider, ProviderSettings

Build = Callable[[str, str, str, httpx2.AsyncClient], Model]

# Ollama asks for no key, its OpenAI-compatible client does.
_NO_KEY = "none"
_MAX_MODELS = 256
_MAX_OWN_KEYS = 10_000


class Providers:
    """The model providers of a worker, on one HTTP connection pool; use as a context manager."""

    def __init__(
        self,
        settings: Mapping[Provider, ProviderSettings],
        *,
        secrets: Secrets | None = None,
        read_timeout: float = 300.0,
    ) -> None:
        self._settings = settings
        self._secrets = secrets
        self._models: OrderedDict[tuple[Provider, str, str], Model] = OrderedDict()
        self._own_keys: OrderedDict[tuple[Provider, str], None] = OrderedDict()
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

    async def model(self, provider: Provider, name: str, organization: str) -> Model:
        """Return the model to call for an organization.

        Raises:
            TaskFailure: provider_key_missing, naming the secret and the variable that may be set; what `Secrets.get`
                raises, since a key that the organization has but cannot be read is not replaced by the operator's.
        """
        key = await self._key(provider, organization)
        model = self._models.get((provider, name, key))
        if model is None:
            # In a thread, because the first import of an SDK takes a second.
            module = await asyncio.to_thread(importlib.import_module, f"workers.agents.models.{provider}")
            build: Build = module.build
            model = build(name, key, self._settings[provider].base_url, self._http)
            self._models[provider, name, key] = model
            while len(self._models) > _MAX_MODELS:
                self._models.popitem(last=False)
        else:
            self._models.move_to_end((provider, name, key))
        return model

    def key_name(self, provider: Provider, organization: str) -> str:
        """Return what to call the key that the organization's calls are made with, and who can change it."""
        variable = self._settings[provider].key_variable or f"{provider.upper()}_API_KEY"
        if (provider, organization) in self._own_keys:
            return f"the organization's secret {variable} (an admin sets it)"
        return f"{variable} (the operator of the worker sets it)"

    async def _key(self, provider: Provider, organization: str) -> str:
        settings = self._settings[provider]
        if settings.key_variable is None:
            return settings.api_key or _NO_KEY
        own = await self._secrets.get(organization, settings.key_variable) if self._secrets is not None else None
        self._note(provider, organization, own=own is not None)
        if (key := own or settings.api_key) is not None:
            return key
        raise TaskFailure(
            "provider_key_missing",
            f"No key for {provider} is set up: an admin sets the organization's secret {settings.key_variable}, or the "
            f"operator of the worker must set {settings.key_variable} and lend it (ORCHESTRATOR_PLATFORM_KEYS).",
            data={"provider": provider, "variable": settings.key_variable},
        )

    def _note(self, provider: Provider, organization: str, *, own: bool) -> None:
        """Remember whose key the organization's calls are made with, for messages."""
        self._own_keys.pop((provider, organization), None)
        if own:
            self._own_keys[provider, organization] = None
            if len(self._own_keys) > _MAX_OWN_KEYS:
                self._own_keys.popitem(last=False)
