"""How each type of agent runs: `context` (a language model), `api` (an HTTP endpoint), `external` (an A2A server)."""
