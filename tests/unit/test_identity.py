"""Tokens, tenants, roles and certificates, without a server."""

from __future__ import annotations

import contextlib
import hmac
import os
import socket
import ssl
import stat
import statistics
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from clipstyler_server.identity import rates, tokens
from clipstyler_server.identity.authenticator import Authenticator, NotAuthenticatedError, Refusal
from clipstyler_server.identity.exposure import check_exposure, is_loopback
from clipstyler_server.identity.files import IdentityFiles, IdentityPaths
from clipstyler_server.identity.private_files import IdentityError, read_private
from clipstyler_server.identity.rates import CallRates
from clipstyler_server.identity.roles import UNKNOWN, UNRESTRICTED, Limits, Principal, Role
from clipstyler_server.identity.tenants import CertificateOwner, Tenants, read_tenants
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.service.certificates import DAY, Authority

SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
PAST = SOON - timedelta(days=2)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


def private(path: Path, content: str) -> Path:
    path.write_text(content)
    path.chmod(0o600)
    return path


def refusal(knows: Authenticator, authorization: str | None, *names: str) -> Refusal:
    with pytest.raises(NotAuthenticatedError) as refused:
        knows.identify(authorization, names)
    return refused.value.refusal


def shown(context: ssl.SSLContext, name: str | None) -> bytes:
    """Return the certificate that a client of today gets that asks for a name."""
    asking = ssl.create_default_context()
    asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(to_client, to_server, server_hostname=name)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for end in (client, server, client):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    found = client.getpeercert(binary_form=True)
    assert found is not None
    return found


class TestTokens:
    def test_a_token_is_256_random_bits_of_which_only_a_digest_is_kept(self, file):
        text, token = tokens.draw("studio", Role.USER, SOON)
        tokens.add_token(file, token)
        secret = text.removeprefix(f"clipstyler_{token.id}_")
        assert len(secret) == 43  # base64 of 32 bytes
        assert secret not in file.read_text()
        assert tokens.read_tokens(file) == {token.id: token}
        assert tokens.id_in(text) == token.id
        assert token.digest == tokens.digest_of(text)
        assert tokens.draw("studio", Role.USER, None)[0] != text

    def test_the_file_is_its_owners_alone(self, file):
        tokens.add_token(file, tokens.draw("studio", Role.USER, None)[1])
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

    def test_tokens_are_added_and_removed_and_comments_stay(self, file):
        drawn = [tokens.draw(tenant, Role.OPERATOR, None)[1] for tenant in ("a", "b", "c")]
        for token in drawn:
            tokens.add_token(file, token)
        with file.open("a") as opened:
            opened.write("# by hand, without a newline")
        assert tokens.remove_token(file, drawn[1].id) == drawn[1]
        tokens.add_token(file, drawn[1])
        assert list(tokens.read_tokens(file).values()) == [drawn[0], drawn[2], drawn[1]]
        assert "# by hand, without a newline\n" in file.read_text()
        with pytest.raises(IdentityError, match="no token 'nobody'"):
            tokens.remove_token(file, "nobody")

    def test_every_bad_line_is_named(self, file):
        digest = "sha256:" + "0" * 64
        bad = [
            "id tenant user never",
            f"id Tenant! user never {digest}",
            f"id tenant king never {digest}",
            f"id tenant user tomorrow {digest}",
            "id tenant user never md5:00",
            f"id tenant user 9999-12-31T23:59:59-14:00 {digest}",
            f"id tenant user never {digest}",
            f"id tenant user never {digest}",
        ]
        private(file, "\n".join(["# tokens", "", *bad]))
        with pytest.raises(IdentityError) as refused:
            tokens.read_tokens(file)
        assert [f"line {number}:" in str(refused.value) for number in range(1, 11)] == [False] * 2 + [True] * 6 + [
            False,
            True,
        ]

    @pytest.mark.parametrize("tenant", ["", "A", "a b", "-a", "a" * 64, "é", "tenant:a"])
    def test_a_malformed_tenant_gets_no_token(self, tenant):
        with pytest.raises(IdentityError, match="name of a tenant"):
            tokens.draw(tenant, Role.USER, None)

    @pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o644, 0o666])
    def test_a_file_that_others_may_read_or_change_is_refused(self, file, mode):
        private(file, "").chmod(mode)
        with pytest.raises(IdentityError, match=f"mode {mode:04o}"):
            read_private(file)

    @pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o640])
    def test_a_group_may_read_it_as_mounted_secrets_permit(self, file, mode):
        private(file, "x").chmod(mode)
        assert read_private(file) == b"x"

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
    def test_a_file_of_another_user_is_refused(self, file, monkeypatch):
        private(file, "")
        os.chown(file, 1, 1)
        with pytest.raises(IdentityError, match="another user"):
            read_private(file)


class TestAuthenticator:
    @pytest.fixture
    def known(self):
        tenants = Tenants(
            Limits(max_steps=7),
            {"studio": Limits(max_size=99)},
            {"spiffe://a/b": CertificateOwner("own", Role.OPERATOR)},
        )
        texts, stored = {}, {}
        for tenant, role, expires in (
            ("studio", Role.USER, SOON),
            ("other", Role.PROBE, None),
            ("late", Role.USER, PAST),
        ):
            texts[tenant], token = tokens.draw(tenant, role, expires)
            stored[token.id] = token
        return Authenticator(stored, tenants), texts, stored

    def test_a_token_stands_for_a_tenant_in_a_role_with_its_limits(self, known):
        knows, texts, _ = known
        studio, other = (knows.identify(f"Bearer {texts[tenant]}") for tenant in ("studio", "other"))
        assert (studio.tenant, studio.role, studio.limits, studio.expires_at) == (
            "studio",
            Role.USER,
            Limits(max_size=99),
            SOON,
        )
        assert (other.tenant, other.role, other.limits, other.expires_at) == (
            "other",
            Role.PROBE,
            Limits(max_steps=7),
            None,
        )
        assert knows.identify(f"bearer {texts['studio']}") == studio

    def test_what_is_no_valid_token_is_refused(self, known):
        knows, texts, stored = known
        token_id = tokens.id_in(texts["studio"])
        wrong = [
            "",
            "Bearer",
            "Bearer ",
            texts["studio"],
            f"Basic {texts['studio']}",
            f"Bearer {texts['studio']}x",
            f"Bearer {texts['studio'][:-1]}",
            f"Bearer {texts['studio'].upper()}",
            f"Bearer clipstyler_{token_id}_",
            f"Bearer clipstyler_{token_id}",
            f"Bearer {stored[token_id].digest}",
            f"Bearer clipstyler_{token_id}_{stored[token_id].digest}",
            f"Bearer clipstyler_000000000000_{'A' * 43}",
            "Bearer \udcff",
            f"Bearer {'x' * 100_000}",
        ]
        assert {refusal(knows, text) for text in wrong} == {Refusal.INVALID}
        assert refusal(knows, None) is Refusal.MISSING
        assert refusal(knows, f"Bearer {texts['late']}") is Refusal.EXPIRED

    def test_a_wrong_secret_of_an_expired_token_is_not_told_that_it_expired(self, known):
        knows, texts, _ = known
        assert refusal(knows, f"Bearer {texts['late']}x") is Refusal.INVALID

    def test_a_certificate_stands_for_its_tenant_and_a_token_overrules_it(self, known):
        knows, texts, _ = known
        by_name = knows.identify(None, ["unknown", "spiffe://a/b"])
        assert (by_name.tenant, by_name.role, by_name.token_id) == ("own", Role.OPERATOR, "")
        assert knows.identify(f"Bearer {texts['studio']}", ["spiffe://a/b"]).tenant == "studio"
        assert refusal(knows, "Bearer wrong", "spiffe://a/b") is Refusal.INVALID
        assert refusal(knows, None, "unknown") is Refusal.MISSING

    def test_a_revoked_or_expired_token_is_known_no_longer(self, known):
        knows, texts, stored = known
        studio = knows.identify(f"Bearer {texts['studio']}")
        assert knows.still_knows(studio)
        assert not Authenticator({}, Tenants()).still_knows(studio)
        expired = {
            studio.token_id: tokens.Token(studio.token_id, "studio", Role.USER, PAST, stored[studio.token_id].digest)
        }
        assert not Authenticator(expired, Tenants()).still_knows(studio)
        assert Authenticator({}, Tenants()).still_knows(Principal("own", Role.USER))

    def test_a_token_in_another_role_is_known_no_longer(self, known):
        knows, texts, stored = known
        studio = knows.identify(f"Bearer {texts['studio']}")
        promoted = tokens.Token(studio.token_id, "studio", Role.OPERATOR, SOON, stored[studio.token_id].digest)
        assert not Authenticator({studio.token_id: promoted}, Tenants()).still_knows(studio)

    def test_a_certificate_that_stands_for_something_else_is_known_no_longer(self, known):
        knows, _, _ = known
        own = knows.identify(None, ["spiffe://a/b"])
        assert knows.still_knows(own)
        for owner in (CertificateOwner("other", Role.OPERATOR), CertificateOwner("own", Role.USER)):
            assert not Authenticator({}, Tenants(certificates={"spiffe://a/b": owner})).still_knows(own)
        assert not Authenticator({}, Tenants()).still_knows(own)

    def test_every_token_is_compared_once_and_in_constant_time(self, known, monkeypatch):
        knows, texts, _ = known
        compared, plain = [], hmac.compare_digest

        def compare(one: str, other: str) -> bool:
            compared.append((len(one), len(other)))
            return plain(one, other)

        monkeypatch.setattr(hmac, "compare_digest", compare)
        for text in (texts["studio"], texts["studio"] + "x", "clipstyler_000000000000_x", "nonsense"):
            with contextlib.suppress(NotAuthenticatedError):
                knows.identify(f"Bearer {text}")
        assert compared == [(64, 64)] * 4

    def test_wrong_tokens_take_equally_long(self, known):
        knows, texts, _ = known
        right = texts["studio"]
        wrong = {
            "unknown id": "clipstyler_" + "0" * 12 + right[23:],
            "first letter": right[:24] + ("B" if right[24] == "A" else "A") + right[25:],
            "last letter": right[:-1] + ("B" if right[-1] == "A" else "A"),
        }
        took: dict[str, list[int]] = {kind: [] for kind in wrong}
        for _ in range(400):  # interleaved, so that whatever else runs here disturbs all of them
            for kind, text in wrong.items():
                begun = time.perf_counter_ns()
                with pytest.raises(NotAuthenticatedError):
                    knows.identify(f"Bearer {text}")
                took[kind].append(time.perf_counter_ns() - begun)
        medians = [statistics.median(times) for times in took.values()]
        assert max(medians) < 1.5 * min(medians), took


class TestTenants:
    def test_limits_fall_back_to_the_default_table(self, tmp_path):
        path = private(
            tmp_path / "tenants.toml",
            """
            [default]
            max_steps = 100
            [tenants.studio]
            certificates = ["render.example", "spiffe://studio/render"]
            max_size = 512
            queue_share = 0.5
            [tenants.ops]
            role = "operator"
            certificates = ["ops.example"]
            max_steps = 400
            """,
        )
        known = read_tenants(path)
        assert known.limits_of("studio") == Limits(max_size=512, queue_share=0.5, max_steps=100)
        assert known.limits_of("ops") == Limits(max_steps=400)
        assert known.limits_of("anyone") == Limits(max_steps=100)
        assert known.certificates["spiffe://studio/render"] == CertificateOwner("studio", Role.USER)
        assert known.certificates["ops.example"] == CertificateOwner("ops", Role.OPERATOR)

    def test_every_bad_value_is_named(self, tmp_path):
        path = private(
            tmp_path / "tenants.toml",
            """
            [default]
            max_stepz = 100
            [tenants.studio]
            role = "king"
            queue_share = 1.5
            max_calls = "many"
            max_size = 63
            max_output_size = 63
            """,
        )
        with pytest.raises(IdentityError) as refused:
            read_tenants(path)
        for field in (
            "default.max_stepz",
            "tenants.studio.role",
            "tenants.studio.queue_share",
            "tenants.studio.max_calls",
            "tenants.studio.max_size",
            "tenants.studio.max_output_size",
        ):
            assert field in str(refused.value)

    def test_a_certificate_has_one_owner_and_a_tenant_a_name(self, tmp_path):
        tables = '[tenants.a]\ncertificates = ["x"]\n[tenants.b]\ncertificates = ["x"]\n[tenants.C]\n'
        with pytest.raises(IdentityError, match=r"x belongs to a too; tenants\.C"):
            read_tenants(private(tmp_path / "tenants.toml", tables))
        with pytest.raises(IdentityError, match="is not TOML"):
            read_tenants(private(tmp_path / "broken.toml", "[tenants"))


class TestRoles:
    def test_an_operator_sees_all_and_a_user_its_own(self):
        assert UNRESTRICTED.scope is None
        assert Principal("ops", Role.OPERATOR).scope is None
        assert Principal("studio", Role.USER).scope == "studio"
        assert UNKNOWN.scope == ""


class TestRates:
    def test_calls_come_at_their_rate_and_in_bursts(self, monkeypatch):
        now = 100.0
        monkeypatch.setattr(rates.time, "monotonic", lambda: now)
        buckets, limits = CallRates(), Limits(calls_per_minute=60, call_burst=3)
        assert [buckets.take("a", limits) for _ in range(4)] == [0, 0, 0, 1.0]
        assert buckets.take("b", limits) == 0
        now += 0.5
        assert buckets.take("a", limits) == pytest.approx(0.5)
        now += 0.5
        assert [buckets.take("a", limits) for _ in range(2)] == [0, 1.0]
        now += 1000
        assert [buckets.take("a", limits) > 0 for _ in range(4)] == [False, False, False, True]

    @pytest.mark.parametrize("per_minute", [7, 600, 5000, 100_000])
    def test_a_call_after_the_delay_in_whole_milliseconds_is_admitted(self, monkeypatch, per_minute):
        now = 100.0
        monkeypatch.setattr(rates.time, "monotonic", lambda: now)
        buckets, limits = CallRates(), Limits(calls_per_minute=per_minute, call_burst=1)
        for _ in range(50):
            assert buckets.take("a", limits) == 0
            now += 20 / per_minute
            told_s = round(1000 * buckets.take("a", limits)) / 1000
            assert told_s > 0
            now += told_s

    def test_without_a_limit_there_is_no_bucket(self):
        assert {CallRates().take("a", Limits()) for _ in range(1000)} == {0.0}
        assert rates.burst_of(Limits()) == 0
        assert rates.burst_of(Limits(calls_per_minute=60)) == 10


class TestExposure:
    @pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "[::1]", "localhost", "::ffff:127.0.0.1"])
    def test_loopback_needs_no_tls(self, host):
        check_exposure(host, "host", has_tls=False, is_insecure=False)

    @pytest.mark.parametrize(
        "host", ["0.0.0.0", "::", "[::]", "", "10.1.2.3", "fe80::1%eth0", "::ffff:10.0.0.1", "no such host", "*"]
    )
    def test_other_addresses_need_tls_or_the_operators_word(self, host):
        with pytest.raises(IdentityError, match="--insecure"):
            check_exposure(host, "host", has_tls=False, is_insecure=False)
        check_exposure(host, "host", has_tls=True, is_insecure=False)
        check_exposure(host, "host", has_tls=False, is_insecure=True)

    def test_a_name_is_on_loopback_only_if_all_its_addresses_are(self, monkeypatch):
        found = [(socket.AF_INET, 0, 0, "", ("127.0.0.1", 0)), (socket.AF_INET6, 0, 0, "", ("2001:db8::1", 0, 0, 0))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)
        assert not is_loopback("both.example")
        found.pop()
        assert is_loopback("both.example")


class TestFiles:
    @pytest.fixture
    def authority(self):
        return Authority()

    def test_files_are_followed_and_a_broken_one_changes_nothing(self, tmp_path, file, authority):
        chain, key = authority.issue_server().write(tmp_path, "server")
        text, token = tokens.draw("studio", Role.USER, None)
        tokens.add_token(file, token)
        identity = IdentityFiles(IdentityPaths(tokens=file, tls_cert=chain, tls_key=key))
        before = identity.certificates
        assert identity.refresh() == []
        assert identity.authenticator.identify(f"Bearer {text}").tenant == "studio"

        authority.issue_server().write(tmp_path, "server")
        tokens.remove_token(file, token.id)
        assert [(reload.paths, reload.problem) for reload in identity.refresh()] == [
            ((chain, key), None),
            ((file,), None),
        ]
        assert identity.certificates.chain == chain.read_bytes() != before.chain
        assert refusal(identity.authenticator, f"Bearer {text}") is Refusal.INVALID

        known, served = identity.authenticator, identity.certificates
        private(file, "broken")
        key.write_bytes(authority.issue_server().key)
        problems = [reload.problem for reload in identity.refresh()]
        assert "no certificate and its private key" in problems[0]
        assert "line 1" in problems[1]
        assert (identity.authenticator, identity.certificates) == (known, served)
        assert identity.refresh() == []  # said once

    def test_a_file_is_used_once_it_can_be_even_if_its_content_is_the_same(self, tmp_path, file):
        tokens.add_token(file, tokens.draw("studio", Role.USER, None)[1])
        identity = IdentityFiles(IdentityPaths(tokens=file))
        text, token = tokens.draw("other", Role.USER, None)
        file.write_text(token.line())
        file.chmod(0o644)
        assert "chmod 600" in identity.refresh()[0].problem
        assert identity.refresh() == []
        file.chmod(0o600)  # which changes neither size nor time
        assert [reload.problem for reload in identity.refresh()] == [None]
        assert identity.authenticator.identify(f"Bearer {text}").tenant == "other"
        assert identity.refresh() == []

    def test_a_token_is_revoked_while_the_file_of_tenants_is_broken(self, tmp_path, file):
        text, token = tokens.draw("studio", Role.USER, None)
        tokens.add_token(file, token)
        tenants = private(tmp_path / "tenants.toml", "[tenants.studio]\nmax_steps = 7\n")
        identity = IdentityFiles(IdentityPaths(tokens=file, tenants=tenants))
        private(tenants, "[")
        assert [reload.paths for reload in identity.refresh()] == [(tenants,)]
        assert identity.authenticator.identify(f"Bearer {text}").limits == Limits(max_steps=7)
        tokens.remove_token(file, token.id)
        assert [reload.problem for reload in identity.refresh()] == [None]
        assert refusal(identity.authenticator, f"Bearer {text}") is Refusal.INVALID

    @pytest.mark.parametrize("broken", [b"a = " + b"[" * 100_000, b"\xff", b"\0", b"[" * 10, b"a = " + b"9" * 5000])
    def test_no_content_of_a_file_does_more_than_being_refused(self, tmp_path, file, broken):
        tokens.add_token(file, tokens.draw("studio", Role.USER, None)[1])
        tenants = private(tmp_path / "tenants.toml", "")
        identity = IdentityFiles(IdentityPaths(tokens=file, tenants=tenants))
        for path in (tenants, file):
            path.write_bytes(broken)
            assert [bool(reload.problem) for reload in identity.refresh()] == [True]

    def test_a_certificate_in_a_form_of_openssl_only_is_refused(self, tmp_path, authority):
        chain, key = authority.issue_server().write(tmp_path, "server")
        identity = IdentityFiles(IdentityPaths(tls_cert=chain, tls_key=key))
        command = ["openssl", "x509", "-in", chain, "-trustout"]
        chain.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
        assert ["server.pem has a certificate" in reload.problem for reload in identity.refresh()] == [True]

    def test_a_key_that_others_may_read_is_refused(self, tmp_path, authority):
        chain, key = authority.issue_server().write(tmp_path, "server")
        key.chmod(0o644)
        with pytest.raises(IdentityError, match=r"server\.key has mode 0644"):
            IdentityFiles(IdentityPaths(tls_cert=chain, tls_key=key))

    def test_a_certificate_that_is_replaced_while_it_is_read_is_read_again(self, tmp_path, authority, monkeypatch):
        chain, key = authority.issue_server().write(tmp_path, "server")
        renewed = authority.issue_server()
        load = ssl.SSLContext.load_cert_chain

        def replace_and_load(*arguments, **options):
            renewed.write(tmp_path, "server")
            return load(*arguments, **options)

        monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", replace_and_load)
        identity = IdentityFiles(IdentityPaths(tls_cert=chain, tls_key=key))
        served = identity.certificates
        assert (served.chain, served.key) == (renewed.chain, renewed.key)
        assert shown(identity.context(), None) == ssl.PEM_cert_to_DER_cert(served.chain.decode())

    def test_a_key_that_comes_after_its_certificate_is_waited_for_at_the_start(self, tmp_path, authority, monkeypatch):
        chain, key = authority.issue_server().write(tmp_path, "server")
        renewed = authority.issue_server()
        chain.write_bytes(renewed.chain)
        load = ssl.SSLContext.load_cert_chain

        def load_and_replace(*arguments, **options):
            try:
                return load(*arguments, **options)
            finally:
                key.write_bytes(renewed.key)

        monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", load_and_replace)
        assert IdentityFiles(IdentityPaths(tls_cert=chain, tls_key=key)).certificates.key == renewed.key

    def test_files_that_change_all_the_time_are_not_used(self, tmp_path, authority, monkeypatch):
        chain, key = authority.issue_server().write(tmp_path, "server")
        load = ssl.SSLContext.load_cert_chain

        def load_and_change(*arguments, **options):
            load(*arguments, **options)
            authority.issue_server().write(tmp_path, "server")

        monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", load_and_change)
        with pytest.raises(IdentityError, match="change while they are read"):
            IdentityFiles(IdentityPaths(tls_cert=chain, tls_key=key))

    @pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
    @pytest.mark.parametrize("name", ["tokens", "tenants", "tls_cert", "tls_key", "tls_client_ca"])
    def test_what_is_no_regular_file_is_refused_without_waiting(self, tmp_path, authority, name, kind):
        chain, key = authority.issue_server().write(tmp_path, "server")
        files = {name: private(tmp_path / name, "") for name in ("tokens", "tenants")}
        files["tls_client_ca"] = private(tmp_path / "ca.pem", authority.pem.decode())
        paths = IdentityPaths(**files, tls_cert=chain, tls_key=key)
        identity = IdentityFiles(paths)
        replaced = getattr(paths, name)
        replaced.unlink()
        if kind == "pipe":
            os.mkfifo(replaced, 0o600)
        elif kind == "device":
            replaced.symlink_to("/dev/zero")
        else:
            replaced.mkdir()
        (reload,) = identity.refresh()
        assert f"{replaced} cannot be read: it is no regular file" in reload.problem

    def test_an_expired_certificate_is_refused_and_a_renewal_that_has_expired_is_not_taken(self, tmp_path, authority):
        chain, key = authority.issue_server(valid=-DAY).write(tmp_path, "server")
        paths = IdentityPaths(tls_cert=chain, tls_key=key)
        with pytest.raises(IdentityError, match=rf"{chain} expired at "):
            IdentityFiles(paths)
        authority.issue_server().write(tmp_path, "server")
        identity = IdentityFiles(paths)
        before = identity.certificates
        authority.issue_server(valid=-DAY).write(tmp_path, "server")
        (reload,) = identity.refresh()
        assert "expired" in reload.problem
        assert identity.certificates is before
        authority.issue_server(valid=2 * DAY).write(tmp_path, "server")
        assert [reload.problem for reload in identity.refresh()] == [None]
        assert identity.certificates.expires_at > before.expires_at

    def test_a_context_shows_the_certificate_of_now_though_the_one_before_had_a_key_of_another_kind(
        self, tmp_path, authority
    ):
        chain, key = authority.issue_server().write(tmp_path, "server")
        identity = IdentityFiles(IdentityPaths(tls_cert=chain, tls_key=key))
        context = identity.context()
        for kind in (rsa.generate_private_key(65537, 2048), None):
            issued = authority.issue_server(key=kind)
            issued.write(tmp_path, "server")
            assert [reload.problem for reload in identity.refresh()] == [None]
            for name in (None, "localhost"):
                assert shown(context, name) == ssl.PEM_cert_to_DER_cert(issued.chain.decode())

    @pytest.mark.parametrize(
        ("given", "problem"),
        [
            ({"tls_cert"}, "tls_cert and tls_key"),
            ({"tls_key"}, "tls_cert and tls_key"),
            ({"tls_client_ca", "tokens"}, "needs TLS"),
            ({"tls_cert", "tls_key", "tls_client_ca"}, "needs tenants"),
            ({"tenants"}, "needs credentials"),
        ],
    )
    def test_files_that_do_not_go_together_are_refused(self, tmp_path, given, problem):
        with pytest.raises(IdentityError, match=problem):
            IdentityFiles(IdentityPaths(**{name: tmp_path / name for name in given}))

    def test_without_files_nobody_is_asked(self):
        identity = IdentityFiles(IdentityPaths())
        assert (identity.authenticator, identity.certificates, identity.context()) == (None, None, None)
