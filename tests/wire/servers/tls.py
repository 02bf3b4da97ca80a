"""Certificates for the tests, made by the openssl program."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

_CONFIG = """
[req]
distinguished_name = dn
prompt = no
[dn]
CN = sleepwalker test CA
[ca]
default_ca = authority
[authority]
dir = {dir}
database = {dir}/index.txt
rand_serial = yes
new_certs_dir = {dir}
certificate = {dir}/ca.pem
private_key = {dir}/ca.key
default_md = sha256
policy = names
unique_subject = no
[names]
commonName = supplied
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[here]
subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1
extendedKeyUsage = serverAuth
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[elsewhere]
subjectAltName = DNS:elsewhere.example
extendedKeyUsage = serverAuth
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[person]
extendedKeyUsage = clientAuth
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM files."""

    cert: Path
    key: Path


@dataclass(frozen=True)
class TlsMaterial:
    """An authority and what it signed. No machine trusts it, so `verify=True` fails and `verify=str(ca)` passes."""

    ca: Path
    server: Pair
    """For localhost, 127.0.0.1 and ::1."""
    expired: Pair
    """For the same names, but it ended in 2020."""
    wrong_host: Pair
    """For elsewhere.example only."""
    client: Pair

    def server_context(self, pair: Pair | None = None, *, client_ca: bool = False) -> ssl.SSLContext:
        """For `FaultServer(tls=…)`; with `client_ca` the client must show a certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pair = pair or self.server
        context.load_cert_chain(pair.cert, pair.key)
        if client_ca:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self, *, cert: bool = False) -> ssl.SSLContext:
        """A client's context that trusts the authority, with the client's certificate if asked."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if cert:
            context.load_cert_chain(self.client.cert, self.client.key)
        return context


def make_tls(folder: Path, program: str | Path = "openssl") -> TlsMaterial:
    """Make everything in an empty folder; takes about 0.1 s."""
    config = folder / "openssl.cnf"
    config.write_text(_CONFIG.format(dir=folder))
    (folder / "index.txt").touch()
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

    def openssl(command: str, *arguments: str | Path) -> None:
        done = subprocess.run([program, command, *arguments], capture_output=True, text=True, cwd=folder, check=False)
        if done.returncode:
            raise RuntimeError(f"openssl {command} failed:\n{done.stderr}")

    root = ["-x509", "-extensions", "root", "-days", "30", "-keyout", "ca.key", "-out", "ca.pem"]
    openssl("req", "-config", config, *new_key, *root)

    def sign(name: str, extensions: str, ended: bool = False) -> Pair:
        pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
        request = folder / f"{name}.csr"
        subject = ["-subj", f"/CN={name}"]
        openssl("req", "-config", config, "-new", *new_key, *subject, "-keyout", pair.key, "-out", request)
        period = ["-startdate", "20200101000000Z", "-enddate", "20200201000000Z"] if ended else ["-days", "30"]
        how = ["-batch", "-notext", "-extensions", extensions]
        openssl("ca", "-config", config, *how, *period, "-in", request, "-out", pair.cert)
        return pair

    return TlsMaterial(
        ca=folder / "ca.pem",
        server=sign("server", "here"),
        expired=sign("expired", "here", ended=True),
        wrong_host=sign("wrong-host", "elsewhere"),
        client=sign("client", "person"),
    )
