"""The local stack: Postgres, PostgREST, Auth and the gateway as ordinary processes, without Docker.

`instance` says what a stack is (ports, keys, folders), `services` what runs, `processes` how a service is found,
started and stopped, `postgres` and `migrations` what happens inside the database, `lifecycle` the order of it all.
"""
