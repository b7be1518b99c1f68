"""Certificates made by openssl, for TLS tests. `tests/conftest.py` imports the fixture."""

import subprocess
from pathlib import Path

import pytest


class Authority:
    """A certificate authority in a directory; `issue` makes a key and a certificate signed by it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.ca = directory / "ca.pem"
        self._key = directory / "ca.key"
        subject = ["-subj", f"/CN=Test CA {directory.name}"]
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        _openssl("req", "-x509", *new_key, *subject, "-days", "30", "-keyout", self._key, "-out", self.ca)

    def issue(self, name: str, *alternatives: str, days: int = 30) -> tuple[Path, Path]:
        """(certificate, key); `days` below 0: expired already."""
        key, request, certificate, more = (self._directory / f"{name}.{end}" for end in ("key", "csr", "pem", "ext"))
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        _openssl("req", *new_key, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        more.write_text(f"subjectAltName={','.join(alternatives) or 'DNS:' + name}\n")
        signed_by = ["-CA", self.ca, "-CAkey", self._key, "-CAcreateserial"]
        _openssl("x509", "-req", "-in", request, *signed_by, "-days", days, "-extfile", more, "-out", certificate)
        return certificate, key


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """The authority that our side trusts."""
    return Authority(tmp_path_factory.mktemp("authority"))
