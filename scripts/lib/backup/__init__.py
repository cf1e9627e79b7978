"""Backups of a Postgres server: encrypted base backups, an encrypted WAL archive, restores to a point in time.

`errors`, `keys`, `sealed` and `wal` need nothing but `cryptography`: Postgres runs them, for each WAL segment, by the
command that `runner` makes. `store` says what lies in a backup folder and `timelines` what of it belongs together;
`source` is the server that is backed up, `server` a scratch server on restored files, `checks` what is asked of it,
`pruning` what may go. The commands are `__main__` and `restoring`, and `options` what these have in common.
"""
