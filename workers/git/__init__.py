"""Agents from git repositories: `sync_repository` brings `agents` in step with the files of a branch.

::

    handler ── what is known? ── remote: ls-refs; a shallow pack, by the door ── reading ── pack_child, confined: trees,
       │                                                                                    blobs, front matter as JSON
       └────── agent_file: front matter to an agent's row ── apply_git_files, a batch at a time

Nothing is checked out: no symlink, submodule, hook or filter of a repository is ever followed or run.
"""

from workers.git.handler import RepositorySyncs

__all__ = ["RepositorySyncs"]
