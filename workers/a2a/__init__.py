"""Our agents as A2A: any A2A client calls an organization's agents, as the user whose access token it sends.

Imports flow one way::

    server -> app -> gate, cards, handler -> stream, follow -> rows, parts, failures -> database, caller, settings

Nothing is kept here: an A2A task is a row of tasks (same id), a context a row of agent_conversations, a stream a
reading of task_events from a sequence on. No server's key is known here; row-level security decides what a caller has.
"""
