"""Google's Gemini API."""

from __future__ import annotations

import httpx2
from pydantic_ai.models import Model
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.providers.google import GoogleProvider


def build(name: str, key: str, url: str, http: httpx2.AsyncClient) -> Model:
    """Return the model `name` at `url`; its SDK does not retry unless told to."""
    return GoogleModel(name, provider=GoogleProvider(api_key=key, base_url=url, http_client=http))
