"""Makes a certificate for the names that the test servers go by."""

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate and its key."""

    certificate_file: Path
    key_file: Path

    def server_context(self) -> ssl.SSLContext:
        """Return what a server needs to show this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate_file, self.key_file)
        return context


def openssl_is_installed() -> bool:
    """Return whether a certificate can be made here."""
    return shutil.which("openssl") is not None


def make_certificate(folder: Path, *names: str) -> Certificate:
    """Return a certificate for `names`, valid for two days, written into `folder`."""
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={names[0]}", "-keyout", str(made.key_file)]
    command += ["-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)]
    command += ["-addext", "keyUsage=critical,digitalSignature,keyCertSign", "-out", str(made.certificate_file)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return made
