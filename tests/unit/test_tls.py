"""TLS contexts: what `verify=` and `cert=` come to, and which of their values are refused."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from sleepwalker.transport.tls import environment_ca, renewed_context, shared_context, ssl_context


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A CA, a client certificate of it in several wrappings, and files that are none of that."""
    folder = tmp_path_factory.mktemp("tls")
    ca = trustme.CA()
    mine, other = ca.issue_cert("client.example"), ca.issue_cert("other.example")
    key = load_pem_private_key(mine.private_key_pem.bytes(), None)
    chain = mine.cert_chain_pems[0].bytes()
    content = {
        "ca": ca.cert_pem.bytes(),
        "cert": chain,
        "key": mine.private_key_pem.bytes(),
        "both": mine.private_key_and_cert_chain_pem.bytes(),
        "other key": other.private_key_pem.bytes(),
        "locked key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
        "empty": b"",
        "text": b"not a certificate\n",
        "broken": chain[: len(chain) // 2],
    }
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in content} | {"folder": folder, "missing": folder / "missing"}


def test_true_trusts_the_bundle_that_requests_trusts() -> None:
    context = ssl_context(True, None)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.cert_store_stats()["x509_ca"] > 50


def test_false_checks_neither_certificate_nor_host_name() -> None:
    context = ssl_context(False, None)
    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname


@pytest.mark.parametrize("kind", [str, Path])
def test_a_bundle_replaces_the_default_one(files: Mapping[str, Path], kind: type) -> None:
    context = ssl_context(kind(files["ca"]), None)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize("kind", [str, Path])
def test_a_directory_of_certificates_is_taken(files: Mapping[str, Path], kind: type) -> None:
    context = ssl_context(kind(files["folder"]), None)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.get_ca_certs() == []  # OpenSSL looks them up one by one, when it needs them


def test_a_context_is_used_as_it_is() -> None:
    mine = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert ssl_context(mine, None) is mine


@pytest.mark.parametrize("verify", [True, False])
def test_nothing_below_tls_1_2_is_ever_spoken(verify: bool) -> None:
    """Version 2.0 went down to TLS 1.0 after any connection error."""
    assert ssl_context(verify, None).minimum_version >= ssl.TLSVersion.TLSv1_2
    assert ssl_context(verify, None).maximum_version == ssl.TLSVersion.MAXIMUM_SUPPORTED


def test_equal_settings_share_a_context_and_different_ones_do_not(files: Mapping[str, Path]) -> None:
    both = str(files["both"])
    assert shared_context(True) is shared_context(True)
    assert shared_context(files["ca"]) is shared_context(files["ca"])
    assert shared_context(True, [both, None]) is shared_context(True, (both, None))
    different = [
        shared_context(True),
        shared_context(False),
        shared_context(files["ca"]),
        shared_context(True, both),
        shared_context(False, both),
    ]
    assert len({id(context) for context in different}) == len(different)


def test_a_bundle_that_was_replaced_is_read_again(files: Mapping[str, Path], tmp_path: Path) -> None:
    bundle = tmp_path / "ca"
    bundle.write_bytes(files["ca"].read_bytes())
    os.utime(bundle, ns=(1, 1))
    before = shared_context(bundle)
    os.utime(bundle, ns=(2, 2))
    assert shared_context(bundle) is not before


def pair(folder: Path, files: Mapping[str, Path], cert: str = "cert", key: str = "key") -> tuple[Path, Path]:
    """A certificate and a key in files that may be replaced."""
    paths = (folder / "client.pem", folder / "client.key")
    for path, name in zip(paths, (cert, key), strict=True):
        path.write_bytes(files[name].read_bytes())
    return paths


def test_a_context_is_renewed_when_its_files_are(files: Mapping[str, Path], tmp_path: Path) -> None:
    cert = pair(tmp_path, files)
    first = shared_context(files["ca"], cert)
    assert renewed_context(first) == (first, None)
    os.utime(cert[0], ns=(1, 1))
    second, fault = renewed_context(first)
    assert second is not first
    assert fault is None
    assert renewed_context(first) == renewed_context(second) == (second, None)
    assert shared_context(files["ca"], cert) is second
    cert[1].rename(tmp_path / "aside")
    cert[1].write_bytes((tmp_path / "aside").read_bytes())  # another file of the same size
    assert renewed_context(first)[0] not in (first, second)


def test_unusable_files_are_told_of_once_and_change_nothing(files: Mapping[str, Path], tmp_path: Path) -> None:
    cert = pair(tmp_path, files)
    good = shared_context(files["ca"], cert)
    pair(tmp_path, files, key="other key")
    assert [renewed_context(good) for _ in range(3)] == [(good, "unusable"), (good, None), (good, None)]
    pair(tmp_path, files, cert="broken")
    assert renewed_context(good) == (good, "unusable")
    cert[1].unlink()
    assert [renewed_context(good) for _ in range(3)] == [(good, "missing"), (good, None), (good, None)]
    pair(tmp_path, files)
    better, fault = renewed_context(good)
    assert better is not good
    assert fault is None
    pair(tmp_path, files, key="text")
    assert [renewed_context(good) for _ in range(2)] == [(better, "unusable"), (better, None)]


@pytest.mark.parametrize("verify", [True, False])
def test_where_there_are_no_files_none_are_looked_at(verify: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, shared = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), shared_context(verify)
    monkeypatch.setattr(Path, "stat", None)
    for context in (mine, shared):
        assert renewed_context(context) == (context, None)


def test_a_context_of_the_callers_own_is_never_shared() -> None:
    mine = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert shared_context(mine) is mine


@pytest.mark.parametrize(
    "names", ["both", ("both", None), ("cert", "key"), ["cert", "key"]], ids=["path", "no key", "tuple", "list"]
)
@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("verify", [True, False])
def test_a_client_certificate_is_loaded(files: Mapping[str, Path], names: Any, kind: type, verify: bool) -> None:
    if isinstance(names, str):
        cert = kind(files[names])
    else:
        cert = type(names)(kind(files[name]) if name else None for name in names)
    assert ssl_context(verify, cert).verify_mode is (ssl.CERT_REQUIRED if verify else ssl.CERT_NONE)


BAD_VERIFY: list[tuple[Any, str]] = [
    (None, "NoneType"),
    (0, "int"),
    (1, "int"),
    ("", "empty"),
    (b"/ca.pem", "bytes"),
    (object(), "object"),
    (("a", "b"), "tuple"),
    ("/no/such/bundle", "'/no/such/bundle'"),
    (Path("/no/such/bundle"), "'/no/such/bundle'"),
    ("a\0b", "cannot be read"),
    ("/dev/zero", "cannot be read (it is a device, not a regular file)"),
]


@pytest.mark.parametrize("make", [ssl_context, shared_context])
@pytest.mark.parametrize(("verify", "says"), [*BAD_VERIFY, ([], "list")])
def test_a_bad_verify_is_named(verify: Any, says: str, make: Callable[..., ssl.SSLContext]) -> None:
    shared_context(True)
    shared_context(False)  # neither may answer for 1 and 0
    with pytest.raises(ValueError, match=r"^verify ") as caught:
        make(verify, None)
    assert says in str(caught.value)


def test_a_pipe_is_no_bundle_and_no_certificate(tmp_path: Path) -> None:
    """It would be waited for."""
    pipe = tmp_path / "pipe.pem"
    os.mkfifo(pipe)
    for arguments in ((pipe, None), (True, pipe)):
        with pytest.raises(ValueError, match="it is a pipe, not a regular file"):
            ssl_context(*arguments)


@pytest.mark.parametrize("name", ["missing", "empty", "text", "broken", "key"])
def test_a_bundle_without_certificates_is_named(files: Mapping[str, Path], name: str) -> None:
    with pytest.raises(ValueError, match=r"^verify ") as caught:
        ssl_context(files[name], None)
    assert repr(str(files[name])) in str(caught.value)


BAD_CERT: list[tuple[Any, list[str]]] = [
    ("", ["certificate", "empty"]),
    (True, ["certificate", "bool"]),
    (1, ["certificate", "int"]),
    (b"x", ["certificate", "bytes"]),
    ((), ["length 0"]),
    (("a",), ["length 1"]),
    (("a", "b", "c"), ["length 3"]),
    ((None, None), ["certificate", "NoneType"]),
    ("missing", ["certificate", "missing", "cannot be read"]),
    (("missing", "missing"), ["certificate", "key", "missing"]),
    (("cert", "missing"), ["key", "missing"]),
    (("cert", ""), ["key", "empty"]),
    (("cert", "other key"), ["other key", "not the one of this certificate"]),
    ("cert", ["not hold a certificate and its key", "cert=(certificate, key)"]),
    ("text", ["not hold a certificate and its key"]),
    ("empty", ["not hold a certificate and its key"]),
    (("key", "cert"), ["not a certificate and its key"]),
    ("folder", ["cannot be read"]),
    (("cert", "/dev/zero"), ["key", "it is a device, not a regular file"]),
]


@pytest.mark.parametrize(("cert", "says"), BAD_CERT, ids=[str(cert) for cert, _ in BAD_CERT])
@pytest.mark.parametrize("make", [ssl_context, shared_context])
def test_a_bad_cert_is_named(
    files: Mapping[str, Path], cert: Any, says: list[str], make: Callable[..., ssl.SSLContext]
) -> None:
    if isinstance(cert, tuple):
        cert = tuple(files.get(name, name) for name in cert)
    elif isinstance(cert, str):
        cert = files.get(cert, cert)
    with pytest.raises(ValueError, match=r"^cert\b") as caught:
        make(True, cert)
    assert [part for part in says if part not in str(caught.value)] == []


def test_a_locked_key_is_an_error_rather_than_a_question_on_the_terminal(files: Mapping[str, Path]) -> None:
    with pytest.raises(ValueError, match=r"^cert: .*locked with a password.*SSLContext"):
        ssl_context(True, (files["cert"], files["locked key"]))


def test_a_context_with_a_certificate_beside_it_is_refused(files: Mapping[str, Path]) -> None:
    with pytest.raises(ValueError, match="cert cannot be combined with verify=SSLContext"):
        ssl_context(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), files["both"])


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"REQUESTS_CA_BUNDLE": "/a"}, "/a"),
        ({"CURL_CA_BUNDLE": "/b"}, "/b"),
        ({"REQUESTS_CA_BUNDLE": "/a", "CURL_CA_BUNDLE": "/b"}, "/a"),
        ({"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": "/b"}, "/b"),
        ({"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": ""}, None),
        ({"SSL_CERT_FILE": "/c"}, None),
    ],
)
def test_the_environment_names_a_bundle_as_it_does_for_requests(environ: dict[str, str], expected: str | None) -> None:
    assert environment_ca(environ) == expected


def test_an_error_about_the_environments_bundle_names_its_variables() -> None:
    found = environment_ca({"REQUESTS_CA_BUNDLE": "/no/such/bundle"})
    with pytest.raises(ValueError, match="REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE"):
        ssl_context(found, None)
