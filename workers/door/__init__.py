"""The one way out: every HTTP request that a worker makes for a tenant goes through a client of this door.

::

    client() ── transport: is this URL allowed? ── seats: is it this organization's turn? ── the shared pool
                                                                                                 │
    answer ── body: size, time, decoding ──────────────────────── network: is the resolved address public? connect to it
"""

from workers.door.door import Door
from workers.door.errors import DoorError, door_failure

__all__ = ["Door", "DoorError", "door_failure"]
