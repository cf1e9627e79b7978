"""How fast the queue is, as ratios in one run: against peers on direct connections and the raw SQL of a narrow table.

`contest` and its parts are `scripts/bench queue`; `history`, `soak` and `snapshot` are benches of their own, since each
takes minutes. Everything goes through public interfaces: the worker is `workers.worker.Worker` in a process of its own,
people insert through PostgREST, and SQL is only used to lay out rows and to read the clock of the database.
"""
