"""The worker of Orchestrator AI: takes tasks from the database, runs their agents, and writes back what they made.

Imports flow one way, from the entry point down to the leaves::

    __main__ -> worker -> exchange, runner -> handlers -> agents -> contract, errors, settings

Only `backend` knows the Supabase client; only `agents` knows model providers and HTTP endpoints.
"""
