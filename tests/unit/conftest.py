"""What spares every unit test work that it is not about."""

from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest

_END = "-----END CERTIFICATE-----\n"


@pytest.fixture(scope="session", autouse=True)
def few_authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let HTTP clients of this process believe one authority, not all: each client reads them, which takes longest."""
    file = tmp_path_factory.mktemp("tls") / "authority.pem"
    file.write_text(Path(certifi.where()).read_text(encoding="utf-8").partition(_END)[0] + _END)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(file))
        yield
