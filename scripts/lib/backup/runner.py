"""How Postgres runs backup.wal, as archive_command and restore_command.

Where we are root, Postgres is another user, who may not enter a checkout below a private folder, nor a Python there: it
then gets a copy of both beside the copy of its binaries.
"""

import hashlib
import importlib.util
import os
import pwd
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from cryptography import __version__ as cryptography_version

from backup.errors import BackupError
from localstack.instance import ROOT_CLUSTERS, locked_copies

_MODULES = ("__init__.py", "errors.py", "keys.py", "sealed.py", "wal.py")
_SITE = ("cryptography", "_cffi_backend")
_HERE = Path(__file__).parent


def command(verb: str, folder: Path, user: int | None) -> str:
    """The setting: put for archive_command, get for restore_command; `user` runs the server, None is ourselves."""
    words = [*_python(user), "-P", "-m", "backup.wal", verb, str(folder)]
    return shlex.join(words).replace("%", "%%") + ' %f "%p"'


def require_access(folder: Path, user: int | None, kind: str = "-w") -> None:
    """Raises BackupError when the server's user may not write to (-w), or read (-r), a folder."""
    test = ["test", "-d", str(folder), "-a", kind, str(folder), "-a", "-x", str(folder)]
    done = subprocess.run(test, check=False, cwd="/", user=user, extra_groups=None if user is None else [])
    if done.returncode != 0:
        name = pwd.getpwuid(os.geteuid() if user is None else user).pw_name
        raise BackupError(
            f"the user {name}, who Postgres runs as, cannot {'read' if kind == '-r' else 'write to'} {folder}",
            "choose a folder in a place that everybody may enter, or let that user in: chown, chmod",
        )


def _python(user: int | None) -> list[str]:
    if user is None:
        return [sys.executable]
    copy = ROOT_CLUSTERS / f"archiver-{_version()}"
    with locked_copies():
        if not copy.exists():
            _copy(copy, user)
    interpreter = copy / "python" / "bin" / "python"
    python = str(interpreter) if interpreter.exists() else str(_base())
    library = [f"LD_LIBRARY_PATH={copy}/python/lib"] if interpreter.exists() else []
    return ["env", f"PYTHONPATH={copy}/site", *library, python]


def _version() -> str:
    parts = [sys.version, sys.base_prefix, cryptography_version, *((_HERE / name).read_text() for name in _MODULES)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _base() -> Path:
    return Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"


def _copy(copy: Path, user: int) -> None:
    partial = copy.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    package = partial / "site" / "backup"
    package.mkdir(parents=True)
    for name in _MODULES:
        shutil.copy(_HERE / name, package)
    for name in _SITE:
        found = importlib.util.find_spec(name)
        if found and found.submodule_search_locations:
            shutil.copytree(found.submodule_search_locations[0], partial / "site" / name)
        elif found and found.origin:
            shutil.copy(found.origin, partial / "site")
    # That user cannot write the compiled files, and without them each segment would cost a compilation.
    subprocess.run([sys.executable, "-m", "compileall", "-q", partial / "site"], check=True)
    if not _may_run(_base(), user):
        _copy_python(partial / "python")
    subprocess.run(["chmod", "-R", "a+rX", partial], check=True)
    partial.rename(copy)


def _copy_python(target: Path) -> None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    left_out = shutil.ignore_patterns("test", "site-packages", "config-*", "idlelib", "ensurepip", "*.a")
    shutil.copytree(Path(sys.base_prefix) / "lib" / version, target / "lib" / version, ignore=left_out)
    for library in (Path(sys.base_prefix) / "lib").glob("libpython*.so*"):
        shutil.copy(library, target / "lib")
    (target / "bin").mkdir()
    shutil.copy(_base(), target / "bin" / "python")


def _may_run(program: Path, user: int) -> bool:
    try:
        done = subprocess.run(
            [program, "-c", ""], check=False, capture_output=True, cwd="/", user=user, extra_groups=[]
        )
    except OSError:
        return False
    return done.returncode == 0
