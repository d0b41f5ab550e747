"""Real certificates for the tests, made by the ``openssl`` program."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

CONFIG = """
[req]
prompt = no
distinguished_name = name
x509_extensions = extensions
[name]
CN = {name}
[extensions]
subjectKeyIdentifier = hash
{extensions}
"""

LEAF = """
authorityKeyIdentifier = keyid:always
basicConstraints = critical, CA:FALSE
subjectAltName = {names}
"""

CA = """
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
"""


class Pair(NamedTuple):
    """Files with a certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """Somebody who signs certificates, and is known to nobody else.

    Args:
        folder: where all files are put.
        name: of the authority, and of its files.

    Attributes:
        cert: file with its certificate, for those who are to trust it.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._own = self._make(name, CA)
        self.cert = self._own.cert

    def issue(self, name: str, names: str = "DNS:localhost, IP:127.0.0.1, IP:::1", kind: str = "ec") -> Pair:
        """Make a certificate for a server of these names, in files called after ``name``."""
        signer = ["-CA", str(self._own.cert), "-CAkey", str(self._own.key)]
        return self._make(name, LEAF.format(names=names), *signer, kind=kind)

    def encrypted_key(self) -> Path:
        """Make a key that needs a password."""
        path = self._folder / "encrypted.key"
        command: list[str | Path] = [
            "openssl",
            "pkey",
            "-in",
            self._own.key,
            "-out",
            path,
            "-aes256",
            "-passout",
            "pass:secret",
        ]
        subprocess.run(command, check=True, capture_output=True)
        return path

    def _make(self, name: str, extensions: str, *options: str, kind: str = "ec") -> Pair:
        config = self._folder / f"{name}.conf"
        config.write_text(CONFIG.format(name=name, extensions=extensions))
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if kind == "ec" else ["-newkey", kind]
        files: list[str | Path] = ["-config", config, "-out", pair.cert, "-keyout", pair.key]
        words = ["req", "-x509", "-nodes", "-days", "2"]
        command: list[str | Path] = ["openssl", *words, *key, *files, *options]
        subprocess.run(command, check=True, capture_output=True)
        return pair
