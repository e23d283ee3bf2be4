"""Credentials of the Python client and the command, and the command that makes them."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from clipstyler_cli.connection import TOKEN, Target
from clipstyler_cli.main import app
from clipstyler_client import (
    AccessError,
    AsyncClient,
    Client,
    DeadlineExceededError,
    OptionError,
    ServerUnavailableError,
    tls_credentials,
)
from clipstyler_client._errors import from_message
from clipstyler_server.identity.tokens import digest_of, read_tokens
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from typer.testing import CliRunner, Result

from clipstyler.v1.error_pb2 import Error
from tests.clients.scripted_server import ScriptedServer, serving
from tests.service.certificates import Authority

A_TOKEN = "clipstyler_0123456789ab_secret"


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (TOKEN, "CLIPSTYLER_TOKENS", "CLIPSTYLER_TLS_CA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of a server and a client, and of the authority of both."""
    folder, authority = tmp_path_factory.mktemp("certificates"), Authority()
    (folder / "ca.pem").write_bytes(authority.pem)
    authority.issue_server().write(folder, "server")
    authority.issue("a client").write(folder, "client")
    return folder


@pytest.fixture(scope="module")
def secure(folder: Path) -> Iterator[ScriptedServer]:
    """A server that asks for a certificate."""
    key, chain, ca = ((folder / name).read_bytes() for name in ("server.key", "server.pem", "ca.pem"))
    with serving(credentials=grpc.ssl_server_credentials([(key, chain)], ca, True)) as running:
        yield running


def call(*arguments: object, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(app, [str(argument) for argument in arguments])


def flags(folder: Path) -> list[object]:
    return ["--tls-ca", folder / "ca.pem", "--tls-cert", folder / "client.pem", "--tls-key", folder / "client.key"]


def test_the_client_shows_its_token_and_its_certificate(secure: ScriptedServer, folder: Path, photo: Path) -> None:
    credentials = tls_credentials(*(folder / name for name in ("ca.pem", "client.pem", "client.key")))
    secure.authorizations.clear()
    with Client(secure.target, credentials, token=A_TOKEN) as client:
        info = client.server_info()
        client.stylize(photo, "fire").result()
    assert (info.caller.tenant, info.caller.role, info.caller.expires) == ("studio", "user", None)
    assert secure.authorizations == [f"Bearer {A_TOKEN}"] * 2


async def test_the_asynchronous_client_does_so_too(secure: ScriptedServer, folder: Path) -> None:
    credentials = tls_credentials(*(folder / name for name in ("ca.pem", "client.pem", "client.key")))
    secure.authorizations.clear()
    async with AsyncClient(secure.target, credentials, token=A_TOKEN) as client:
        await client.server_info()
    assert secure.authorizations == [f"Bearer {A_TOKEN}"]


def test_without_a_certificate_the_server_does_not_answer(secure: ScriptedServer, folder: Path) -> None:
    secure.authorizations.clear()
    # Which of both depends on whether all retries fit into the time.
    failures = (ServerUnavailableError, DeadlineExceededError)
    with Client(secure.target, tls_credentials(folder / "ca.pem")) as client, pytest.raises(failures):
        client.server_info(timeout_s=1)
    assert secure.authorizations == []


def test_a_token_leaves_this_machine_only_encrypted(server: ScriptedServer) -> None:
    with Client(server.target, token=A_TOKEN) as client:
        client.server_info()
    assert server.authorizations == [f"Bearer {A_TOKEN}"]
    listed = ("ipv4:127.0.0.1:50051,10.0.0.1:50051", "ipv6:[::1]:50051,[2001:db8::1]:50051")
    for target in ("example.org:50051", "10.0.0.1:50051", "dns:///example.org:50051", "[2001:db8::1]:50051", *listed):
        with pytest.raises(OptionError, match="without encryption"):
            Client(target, token=A_TOKEN)
        with pytest.raises(OptionError, match="without encryption"):
            AsyncClient(target, token=A_TOKEN)
    Client("example.org:50051", grpc.ssl_channel_credentials(), token=A_TOKEN).close()


@pytest.mark.parametrize("token", ["a b", "é", "a\nb", "a\0"])
def test_what_is_no_token_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(OptionError) as refused:
        Client(token=token)
    assert token not in str(refused.value)


def test_refused_callers_have_an_error_of_their_own() -> None:
    for code in (Error.CODE_UNAUTHENTICATED, Error.CODE_PERMISSION_DENIED):
        assert isinstance(from_message(Error(code=code)), AccessError)


def test_a_certificate_needs_its_key(folder: Path) -> None:
    with pytest.raises(OptionError, match="go together"):
        tls_credentials(certificate=folder / "client.pem")


def locked(key: bytes) -> bytes:
    """A private key that needs a password."""
    private = load_pem_private_key(key, None)
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


@pytest.mark.parametrize(
    ("name", "spoiled"),
    [
        ("client.pem", lambda _chain: b"garbage"),
        ("client.key", lambda _key: b"garbage"),
        ("client.key", lambda _key: Authority().issue("another client").key),
        ("client.key", locked),
    ],
)
def test_a_certificate_and_a_key_that_do_not_fit_are_named_and_not_the_server(
    folder: Path, tmp_path: Path, name: str, spoiled: Callable[[bytes], bytes]
) -> None:
    paths = {"client.pem": folder / "client.pem", "client.key": folder / "client.key", name: tmp_path / name}
    paths[name].write_bytes(spoiled((folder / name).read_bytes()))
    outcome = call("health", "--tls-cert", paths["client.pem"], "--tls-key", paths["client.key"])
    assert outcome.exit_code == 2
    assert f"--tls-cert: {paths['client.pem']} is no certificate in PEM, or " in outcome.stderr


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff\0", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_file_without_certificates_is_named_and_not_the_server(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    outcome = call("health", "--tls-ca", path)
    assert outcome.exit_code == 2
    assert f"--tls-ca: {path} has no certificates in PEM" in outcome.stderr.replace("\n", "")


@pytest.mark.parametrize("words", [["models", "list"], ["stylize", "PHOTO", "fire", "-o", "OUT"]], ids=" ".join)
def test_commands_take_credentials(secure: ScriptedServer, folder: Path, photo: Path, words: list[str]) -> None:
    paths = {"PHOTO": photo, "OUT": photo.with_name("out.png")}
    arguments = [paths.get(word, word) for word in words]
    secure.authorizations.clear()
    outcome = call(*arguments, "--server", secure.target, *flags(folder), CLIPSTYLER_TOKEN=A_TOKEN)
    assert outcome.exit_code == 0, outcome.output
    assert secure.authorizations == [f"Bearer {A_TOKEN}"]


@pytest.mark.parametrize(
    "group", ["stylize", "classify", "evaluate", "models list", "gateway", "jobs list", "jobs show"]
)
def test_commands_that_call_a_server_have_the_flags(group: str) -> None:
    shown = call(*group.split(), "--help", TERM="dumb", COLUMNS="200").output
    for flag in ("--tls", "--tls-ca", "--tls-cert", "--tls-key"):
        assert re.search(rf"{flag}\b", shown), group


def test_problems_with_credentials_are_one_line(folder: Path) -> None:
    missing = call("jobs", "list", "--tls-ca", folder / "nowhere.pem")
    plain = call("jobs", "list", "--server", "example.org:1", CLIPSTYLER_TOKEN=A_TOKEN)
    half = call("jobs", "list", "--tls-cert", folder / "client.pem")
    assert [outcome.exit_code for outcome in (missing, plain, half)] == [1, 2, 2]
    assert "nowhere.pem" in missing.stderr
    assert "CLIPSTYLER_TOKEN: would be sent to example.org:1 without encryption" in plain.stderr
    assert "--tls-cert: a certificate and its key go together" in half.stderr
    assert A_TOKEN not in plain.output


def test_a_target_is_named_by_its_flags() -> None:
    target = Target("host:1", tls=True, tls_ca=Path("an authority.pem"), tls_key=Path("client.key"))
    assert target.flags == "--server host:1 --tls --tls-ca 'an authority.pem' --tls-key client.key"


def test_flags_of_a_connection_without_a_server_are_refused(tmp_path: Path) -> None:
    words = ("classify", "examples/astronaut.jpg", "a cat", "a dog")
    outcome = call(*words, "--tls", "--tls-ca", tmp_path / "ca.pem", "--tls-cert", tmp_path / "a.pem")
    needed = "needs a server: name one with --server"
    assert outcome.exit_code == 2
    assert outcome.stderr.splitlines() == [
        f"error: --tls: {needed}",
        f"       --tls-ca: {needed}",
        f"       --tls-cert: {needed}",
    ]
    assert call(*words, CLIPSTYLER_TLS_CA=f"{tmp_path}/./nowhere.pem").exit_code == 0


class TestTokensCommand:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "tokens"

    def test_a_token_is_shown_once(self, file: Path) -> None:
        created = call("tokens", "create", "studio", "--file", file)
        text = created.stdout.strip()
        (token,) = read_tokens(file).values()
        assert digest_of(text) == token.digest
        assert (token.tenant, token.role) == ("studio", "user")
        assert timedelta(days=364) < token.expires_at - datetime.now(UTC) <= timedelta(days=365)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert text not in created.stderr
        listed = call("tokens", "list", "--file", file)
        assert token.id in listed.stdout
        assert text.rpartition(token.id)[2] not in listed.output + file.read_text()

    @pytest.mark.parametrize(("given", "length"), [("12h", 0.5), ("90d", 90), ("6w", 42), ("2y", 730), ("never", None)])
    def test_tokens_expire_when_they_are_to(self, file: Path, given: str, length: float | None) -> None:
        call("tokens", "create", "studio", "--role", "operator", "--expires", given, CLIPSTYLER_TOKENS=str(file))
        (listed,) = json.loads(call("tokens", "list", "--json", CLIPSTYLER_TOKENS=str(file)).stdout)
        assert (listed["tenant"], listed["role"]) == ("studio", "operator")
        (token,) = read_tokens(file).values()
        if length is None:
            assert (token.expires_at, listed["expires"]) == (None, "never")
        else:
            assert abs(token.expires_at - datetime.now(UTC) - timedelta(days=length)) < timedelta(seconds=30)

    def test_a_token_is_revoked(self, file: Path) -> None:
        for tenant in ("studio", "other"):
            call("tokens", "create", tenant, "--file", file)
        studio, other = read_tokens(file).values()
        assert call("tokens", "revoke", studio.id, "--file", file).stdout == f"revoked {studio.id} of studio\n"
        assert list(read_tokens(file)) == [other.id]

    @pytest.mark.parametrize(
        ("words", "problem"),
        [
            (["create", "Not a tenant"], "no name of a tenant"),
            (["create", "studio", "--role", "king"], "--role: 'king' is none of user, operator, probe"),
            (["create", "studio", "--expires", "soon"], "--expires: 'soon' is neither never nor a duration"),
            (["revoke", "nobody"], "cannot be read"),
            (["list"], "cannot be read"),
        ],
    )
    def test_what_cannot_be_done_is_one_line(self, file: Path, words: list[str], problem: str) -> None:
        outcome = call("tokens", *words, "--file", file)
        assert outcome.exit_code == 2
        assert problem in outcome.stderr
        assert not file.exists()

    def test_help_shows_examples(self) -> None:
        for command in ("create", "list", "revoke"):
            assert f"clipstyler tokens {command}" in call("tokens", command, "--help").output
