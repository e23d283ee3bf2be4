"""Who may do what, against a real server with TLS, tokens and tenants."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import grpc
import pytest
import pytest_asyncio
import structlog
from clipstyler_server.app import App
from clipstyler_server.identity import tokens
from clipstyler_server.identity.roles import Role
from clipstyler_server.observability.http_pages import MOST_CONNECTIONS
from clipstyler_server.start_checks import ServerStartError
from cryptography import x509
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from multidict import CIMultiDict

from clipstyler.v1 import (
    server_service_pb2,
    server_service_pb2_grpc,
    stylization_service_pb2,
    stylization_service_pb2_grpc,
)
from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler.v1.options_pb2 import StylizationOptions
from clipstyler.v1.style_service_pb2 import (
    ApplyStyleRequest,
    CreateStyleRequest,
    DeleteStyleRequest,
    DownloadStyleRequest,
    GetStyleRequest,
    ListStylesRequest,
    RenderStyleRequest,
    StyleApplication,
    StylePhoto,
    UploadStyleRequest,
)
from clipstyler.v1.style_service_pb2_grpc import StyleServiceStub
from clipstyler.v1.stylization_pb2 import Stylization
from tests.attack import http2
from tests.service import scripted
from tests.service.certificates import DAY, Authority
from tests.service.harness import (
    Caller,
    collect,
    details,
    eventually,
    fields,
    order,
    photo,
    reason,
    refusal,
    request,
    settings,
    status_of,
)
from tests.service.methods import listed_methods
from tests.service.styles import style_file

TENANTS = """
[tenants.limited]
max_size = 64
max_steps = 5
max_calls = 4
queue_share = 0.02
max_stored_bytes = 50_000

[tenants.fine]
max_size = 80
max_output_size = 90

[tenants.hasty]
calls_per_minute = 60
call_burst = 3

[tenants.certified]
certificates = ["spiffe://example/certified"]

[tenants.ops]
role = "operator"
certificates = ["ops.example"]
"""
ROLES = {"ops": Role.OPERATOR, "probe": Role.PROBE}
USERS = ("studio", "other", "limited", "fine", "hasty")
ServerInfo = server_service_pb2.ServerInfo


class As(Caller):
    """A caller with credentials."""

    def __init__(
        self, address: str, ca: bytes, token: str | None, certificate: tuple[bytes, bytes] | None = None
    ) -> None:
        key, chain = certificate or (None, None)
        credentials = grpc.ssl_channel_credentials(ca, key, chain)
        if token is not None:
            call_credentials = grpc.access_token_call_credentials(token)
            credentials = grpc.composite_channel_credentials(credentials, call_credentials)
        # A connection of its own, so that its certificate is the one that counts.
        self.channel = grpc.aio.secure_channel(address, credentials, [("grpc.use_local_subchannel_pool", 1)])
        self.stub = stylization_service_pb2_grpc.StylizationServiceStub(self.channel)
        self.server = server_service_pb2_grpc.ServerServiceStub(self.channel)
        self.styles = StyleServiceStub(self.channel)

    async def upload_style(self, data: bytes) -> str:
        return (await self.styles.UploadStyle(UploadStyleRequest(data=data))).style.name

    async def style_names(self) -> list[str]:
        response = await self.styles.ListStyles(ListStylesRequest(page_size=1000))
        return [style.name for style in response.styles if not style.bundled]

    async def info(self) -> ServerInfo:
        return (await self.server.GetServerInfo(server_service_pb2.GetServerInfoRequest())).server_info

    async def refused(self, timeout: float = 5) -> grpc.aio.AioRpcError:
        """The error of a call that must fail."""
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await self.server.GetServerInfo(server_service_pb2.GetServerInfoRequest(), timeout=timeout)
        return failed.value


@dataclass
class Secured:
    """A server with TLS and tokens, and its files."""

    app: App
    authority: Authority
    folder: Path
    texts: dict[str, str]
    opened: list[grpc.aio.Channel]

    def caller(self, tenant: str | None = None, token: str | None = None, **options: object) -> As:
        text = self.texts[tenant] if tenant else token
        caller = As(self.app.grpc_address, options.pop("ca", self.authority.pem), text, **options)
        self.opened.append(caller.channel)
        return caller

    def add(self, tenant: str, role: Role = Role.USER, expires_at: datetime | None = None) -> str:
        """Add a token to the file, and have the server read it; returns the token."""
        text, token = tokens.draw(tenant, role, expires_at)
        tokens.add_token(self.folder / "tokens", token)
        self.app.identity.refresh()
        return text

    def revoke(self, text: str) -> None:
        tokens.remove_token(self.folder / "tokens", tokens.id_in(text))
        self.app.identity.refresh()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def secure(tmp_path_factory) -> AsyncIterator[Callable[..., object]]:
    """Start servers with TLS, tokens and tenants: `await secure(client_ca=True)`."""
    started: list[Secured] = []

    async def secure(with_client_ca: bool = False, **changes: object) -> Secured:
        folder, authority = tmp_path_factory.mktemp("identity"), Authority()
        chain, key = authority.issue_server().write(folder, "server")
        (folder / "ca.pem").write_bytes(authority.pem)
        tenants = folder / "tenants.toml"
        tenants.write_text(TENANTS)
        tenants.chmod(0o600)
        texts = {}
        for tenant in (*USERS, *ROLES):
            texts[tenant], token = tokens.draw(tenant, ROLES.get(tenant, Role.USER), None)
            tokens.add_token(folder / "tokens", token)
        files = {"tls_cert": chain, "tls_key": key, "tokens": folder / "tokens", "tenants": tenants}
        if with_client_ca:
            files["tls_client_ca"] = folder / "ca.pem"
        given = {name: str(path) for name, path in files.items()} | {"http_auth": True} | changes
        app = App(settings(**given), scripted.make)
        started.append(Secured(app, authority, folder, texts, []))
        await app.start()
        await asyncio.wait_for(app.ready(), 60)
        return started[-1]

    yield secure
    for secured in started:
        for channel in secured.opened:
            await channel.close()
        await secured.app.stop(0)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def secured(secure) -> Secured:
    """The module's server."""
    return await secure()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mutual(secure) -> Secured:
    """A server that asks for client certificates too."""
    return await secure(with_client_ca=True)


@pytest.fixture
def studio(secured) -> As:
    return secured.caller("studio")


@pytest.fixture
def other(secured) -> As:
    return secured.caller("other")


def named_methods() -> list[str]:
    """Every method of the service of jobs that names one."""
    service = stylization_service_pb2.DESCRIPTOR.services_by_name["StylizationService"]
    return [method.name for method in service.methods if "name" in method.input_type.fields_by_name]


async def outcome_of(caller: As, method: str, name: str, **fields: object) -> status_pb2.Status | None:
    """Call a method on a job; returns the status unless it is OK."""
    call = getattr(caller.stub, method)(getattr(pb, f"{method}Request")(name=name, **fields), timeout=10)
    try:
        if hasattr(call, "__aiter__") and method in {"WatchStylization", "GetStylizationImage"}:
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return status_of(error)
    return None


class TestForeignJobs:
    def test_methods_that_name_a_job_are_known(self):
        assert set(named_methods()) == {
            "GetStylization",
            "WatchStylization",
            "CancelStylization",
            "DeleteStylization",
            "GetStylizationImage",
        }

    @pytest.mark.parametrize("state", ["running", "queued", "finished"])
    async def test_foreign_jobs_are_not_found_by_any_method(self, secured, studio, other, gate, state):
        ahead = await studio.create(order(f"hold={gate} ahead")) if state == "queued" else None
        job = await studio.create(order(f"hold={gate} a secret look" if state == "running" else "a secret look"))
        if state == "finished":
            await studio.watch(job.name)
        if state == "running":
            await eventually(lambda: secured.app.scheduler.running)
        nowhere = f"stylizations/{uuid.uuid4()}"
        for method in named_methods():
            kinds = Stylization.ImageKind.values() if method == "GetStylizationImage" else [None]
            for kind in kinds:
                extra = {} if kind is None else {"kind": kind}
                foreign = await outcome_of(other, method, job.name, **extra)
                missing = await outcome_of(other, method, nowhere, **extra)
                assert (foreign.code, reason(foreign)) == (grpc.StatusCode.NOT_FOUND.value[0], "STYLIZATION_NOT_FOUND")
                # Nothing tells a foreign job from none.
                assert foreign.message.replace(job.name, "") == missing.message.replace(nowhere, "")
                assert len(foreign.SerializeToString()) == len(missing.SerializeToString())
        gate.touch()
        if ahead:
            await studio.watch(ahead.name)
        assert (await studio.watch(job.name)).kinds()[-1] == "result"

    async def test_a_tenant_lists_its_own_jobs_and_an_operator_all(self, secured, studio, other):
        ours, theirs = await studio.create(order("ours")), await other.create(order("theirs"))
        listed = {job.name for job in (await other.page(page_size=1000)).stylizations}
        assert theirs.name in listed
        assert ours.name not in listed
        operator = secured.caller("ops")
        assert {ours.name, theirs.name} <= {job.name for job in (await operator.page(page_size=1000)).stylizations}
        assert (await operator.get(ours.name)).spec.style_text == "ours"
        await operator.watch(ours.name)
        await operator.delete(ours.name)
        assert reason(await outcome_of(studio, "GetStylization", ours.name)) == "STYLIZATION_NOT_FOUND"

    async def test_a_page_token_of_another_tenant_is_none(self, secured, studio, other):
        for number in range(2):
            await studio.create(order(f"page {number}"))
        token = (await studio.page(page_size=1)).next_page_token
        assert token
        status = await refusal(other.page(page_token=token))
        assert (reason(status), fields(status)) == ("INVALID_FIELD", ["page_token"])
        assert (await refusal(secured.caller("ops").page(page_token=token))).code == status.code

    async def test_a_tenant_has_its_own_styles_and_an_operator_all(self, secured, studio, other):
        ours = await studio.upload_style(style_file("ours", 77))
        theirs = await other.upload_style(style_file("theirs", 78))
        assert await studio.style_names() == [ours]
        assert await other.style_names() == [theirs]
        assert {ours, theirs} <= set(await secured.caller("ops").style_names())
        missing = f"styles/{'0' * 64}"
        for name in (theirs, missing):
            for call in (studio.styles.GetStyle, studio.styles.DeleteStyle):
                kind = GetStyleRequest if call is studio.styles.GetStyle else DeleteStyleRequest
                assert reason(await refusal(call(kind(name=name)))) == "STYLE_NOT_FOUND"
            asked = RenderStyleRequest(application=StyleApplication(style=name), photo=StylePhoto(image=photo()))
            assert reason(await refusal(anext(aiter(studio.styles.RenderStyle(asked))))) == "STYLE_NOT_FOUND"
        # Whoever has the file may upload it too, and both are independent of each other.
        assert await studio.upload_style(style_file("theirs", 78)) == theirs
        await studio.styles.DeleteStyle(DeleteStyleRequest(name=theirs))
        assert await other.style_names() == [theirs]

    async def test_foreign_styles_jobs_and_photos_cannot_be_drawn_with(self, studio, other):
        theirs, upload = await other.upload_style(style_file("theirs", 79)), await other.upload(photo(72, 50))
        job = await other.create(order("theirs", options=StylizationOptions(keep_style=True)))
        await other.watch(job.name)
        ours, image = await studio.upload_style(style_file("ours", 80)), StylePhoto(image=photo())
        foreign = StyleApplication(style=theirs)
        second = StyleApplication(style=ours, second_style=theirs)
        for responses, expected in (
            (studio.styles.DownloadStyle(DownloadStyleRequest(name=theirs)), "STYLE_NOT_FOUND"),
            (studio.styles.RenderStyle(RenderStyleRequest(application=second, photo=image)), "STYLE_NOT_FOUND"),
            (studio.styles.RenderStyle(RenderStyleRequest(stylization=job.name)), "STYLIZATION_NOT_FOUND"),
            (studio.styles.RenderStyle(RenderStyleRequest(stylization=job.name, photo=image)), "STYLIZATION_NOT_FOUND"),
            (studio.styles.ApplyStyle(iter([ApplyStyleRequest(application=foreign)])), "STYLE_NOT_FOUND"),
            (studio.styles.ApplyStyle(iter([ApplyStyleRequest(application=second)])), "STYLE_NOT_FOUND"),
        ):
            assert reason(await refusal(anext(aiter(responses)))) == expected
        asked = RenderStyleRequest(application=StyleApplication(style=ours), photo=StylePhoto(upload=upload))
        assert fields(await refusal(anext(aiter(studio.styles.RenderStyle(asked))))) == ["photo.upload"]
        for caller, name in ((studio, ours), (other, theirs)):
            await caller.styles.DeleteStyle(DeleteStyleRequest(name=name))

    async def test_a_style_of_another_tenants_job_cannot_be_made(self, studio, other):
        job = await studio.create(order("kept", options=StylizationOptions(keep_style=True)))
        await studio.watch(job.name)
        asked = CreateStyleRequest(stylization=job.name)
        assert reason(await refusal(other.styles.CreateStyle(asked))) == "STYLIZATION_NOT_FOUND"
        assert (await studio.styles.CreateStyle(asked)).style.style_text == "kept"

    async def test_a_request_id_of_another_tenant_is_free(self, studio, other):
        request_id = str(uuid.uuid4())
        ours = await studio.create(order("the same", request_id=request_id))
        theirs = await other.create(order("something else", request_id=request_id))
        assert ours.name != theirs.name
        assert (await studio.create(order("the same", request_id=request_id))).name == ours.name
        assert (await other.create(order("something else", request_id=request_id))).name == theirs.name

    async def test_two_tenants_create_under_one_request_id_at_the_same_time(self, studio, other):
        asked = order("at once", request_id=str(uuid.uuid4()))
        created = await asyncio.gather(*(caller.create(asked) for caller in (studio, other, studio, other)))
        names = [job.name for job in created]
        assert names[0] == names[2] != names[1] == names[3]

    async def test_images_of_another_tenant_cannot_be_used_by_digest(self, studio, other):
        uploaded, sent = photo(70, 50), photo(71, 50)
        upload = await studio.upload(uploaded)
        job = await studio.create(order("by its photo", image=sent))
        result = (await studio.watch(job.name)).result
        digests = [hashlib.sha256(sent).hexdigest(), result.result.image.sha256.hex()]
        for name in (upload, *(f"uploads/{digest}" for digest in digests)):
            missing = await refusal(other.create(order("stolen", upload=f"uploads/{'0' * 64}")))
            stolen = await refusal(other.create(order("stolen", upload=name)))
            assert fields(stolen) == ["spec.upload"]
            assert stolen == missing
            assert (await collect(other.stub.Stylize(request("stolen", upload=name)))).status == missing
        assert (await studio.create(order("its own", upload=upload))).name
        # Whoever has the bytes may upload them too, and both are independent of each other.
        assert await other.upload(uploaded) == upload
        assert (await other.create(order("its own", upload=upload))).name


class TestTokens:
    async def test_without_a_token_no_method_receives_anything(self, secured, studio):
        methods = await listed_methods(studio.channel)
        assert len(methods) > 15
        nobody = secured.caller()
        for method in methods:
            call = await method.outcome(nobody.channel, b"\xff garbage", timeout=5)
            code = await call.code()
            if method.path.startswith("/grpc.health."):
                assert code is not grpc.StatusCode.UNAUTHENTICATED
                continue
            assert code is grpc.StatusCode.UNAUTHENTICATED, method.path

    async def test_unknown_methods_are_for_nobody_either(self, secured):
        call = secured.caller().channel.unary_unary("/clipstyler.v1.StylizationService/Nothing")(b"", timeout=5)
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED

    async def test_missing_wrong_expired_and_revoked_tokens_are_told_apart(self, secured):
        expired = secured.add("studio", expires_at=datetime.now(UTC) - timedelta(seconds=1))
        revoked = secured.add("studio")
        kept = secured.caller(token=revoked)
        assert (await kept.info()).caller.tenant == "studio"
        secured.revoke(revoked)
        wrong = secured.texts["studio"][:-2] + "xx"
        given = {"CREDENTIALS_MISSING": [secured.caller()], "CREDENTIALS_EXPIRED": [secured.caller(token=expired)]}
        given["CREDENTIALS_INVALID"] = [kept, secured.caller(token=wrong), secured.caller(token="nonsense")]
        for expected, callers in given.items():
            for caller in callers:
                status = status_of(await caller.refused())
                assert (status.code, reason(status)) == (grpc.StatusCode.UNAUTHENTICATED.value[0], expected)

    @pytest.mark.parametrize("values", [["Bearer {0}", "Bearer {0}"], ["Basic {0}"], ["{0}"], [""]])
    async def test_other_headers_are_no_token(self, secured, values):
        nobody = secured.caller()
        metadata = [("authorization", value.format(secured.texts["studio"])) for value in values]
        call = nobody.server.GetServerInfo(server_service_pb2.GetServerInfoRequest(), metadata=metadata)
        assert reason(await refusal(call)) == "CREDENTIALS_INVALID"

    async def test_the_server_follows_the_file_by_itself(self, secured):
        text, token = tokens.draw("studio", Role.USER, None)
        tokens.add_token(secured.folder / "tokens", token)
        caller = secured.caller(token=text)
        await eventually(lambda: secured.app.identity.authenticator._tokens.get(token.id))
        await caller.info()

    async def test_a_stream_ends_when_its_token_is_revoked(self, secured, studio, gate):
        job = await studio.create(order(f"hold={gate} step=0.02 watched", options=StylizationOptions(steps=50)))
        text = secured.add("studio")
        _, events, watching = secured.caller(token=text).begin_watch(job.name)
        await eventually(lambda: events)
        secured.revoke(text)
        gate.touch()
        assert reason((await watching).status) == "CREDENTIALS_INVALID"
        assert (await studio.cancel(job.name)).name == job.name

    async def test_names_in_headers_change_nothing(self, studio, other):
        job = await studio.create(order("ours"))
        for header in ("x-clipstyler-client", "x-clipstyler-tenant", "x-forwarded-for", "tenant"):
            call = other.stub.GetStylization(pb.GetStylizationRequest(name=job.name), metadata=[(header, "studio")])
            assert reason(await refusal(call)) == "STYLIZATION_NOT_FOUND"


class TestRoles:
    async def test_a_probe_sees_health_and_metrics_only(self, secured, studio):
        probe = secured.caller("probe")
        health = await health_pb2_grpc.HealthStub(probe.channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        for method in await listed_methods(studio.channel):
            if not method.path.startswith("/grpc.health."):
                call = await method.outcome(probe.channel, b"", timeout=5)
                assert await call.code() is grpc.StatusCode.PERMISSION_DENIED, method.path
        assert reason(status_of(await probe.refused())) == "PERMISSION_DENIED"

    async def test_health_needs_no_credentials(self, secured):
        stub = health_pb2_grpc.HealthStub(secured.caller().channel)
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING

    async def test_a_caller_is_told_who_it_is(self, secured):
        expiry = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
        lasting, ending = secured.caller("ops"), secured.caller(token=secured.add("studio", expires_at=expiry))
        operator, user = (await lasting.info()).caller, (await ending.info()).caller
        assert (operator.tenant, operator.role) == ("ops", ServerInfo.Caller.ROLE_OPERATOR)
        assert not operator.HasField("expire_time")
        assert (user.tenant, user.role) == ("studio", ServerInfo.Caller.ROLE_USER)
        assert user.expire_time.ToDatetime(UTC) == expiry

    async def test_an_operator_drains_and_no_one_else(self, secure):
        secured = await secure()
        asked = server_service_pb2.DrainServerRequest()
        assert reason(await refusal(secured.caller("studio").server.DrainServer(asked))) == "PERMISSION_DENIED"
        assert not secured.app.end.is_set()
        await secured.caller("ops").server.DrainServer(asked)
        assert secured.app.end.is_set()
        assert reason(await refusal(secured.caller("studio").create(order()))) == "DRAINING"

    async def test_without_credentials_nobody_drains(self, server):
        assert (
            reason(await refusal(server.info_stub.DrainServer(server_service_pb2.DrainServerRequest())))
            == "PERMISSION_DENIED"
        )
        info = await server.info()
        assert (info.caller.tenant, info.caller.role) == ("", ServerInfo.Caller.ROLE_OPERATOR)


class TestLimits:
    async def test_a_tenants_limits_are_told_and_held(self, secured, studio):
        limited = secured.caller("limited")
        told, usual = await limited.info(), await studio.info()
        assert (told.limits.max_size, told.limits.max_steps, told.limits.max_calls_per_caller) == (64, 5, 4)
        assert (told.limits.max_stored_bytes_per_caller, told.queue.capacity_per_caller) == (50_000, 4)
        assert (usual.limits.max_size, usual.limits.max_steps, usual.queue.capacity_per_caller) == (1024, 500, 150)
        large = StylizationOptions(size=65, steps=6)
        status = await refusal(limited.create(order("too much", options=large)))
        assert set(fields(status)) == {"spec.options.size", "spec.options.steps"}
        assert (await studio.create(order("allowed", options=large))).name
        assert (await limited.create(order("allowed"))).name

    @pytest.mark.parametrize(
        ("tenant", "limit", "text", "width"),
        [
            ("limited", 64, "as optimized", 64),
            ("fine", 90, "tiles=1 reduced", 90),
            ("studio", 8192, "tiles=1 as is", 96),
        ],
    )
    async def test_a_tenants_limit_holds_for_results_too(self, secured, tenant, limit, text, width):
        caller = secured.caller(tenant)
        assert (await caller.info()).limits.max_output_size == limit
        outcome = await collect(caller.stub.Stylize(request(text, image=photo(96, 60))))
        result = outcome.result
        assert (result.result.image.width_px, result.spec.options.output_size) == (width, width)
        assert [warning.code for warning in outcome.only("warning")] == (["OUTPUT_LIMITED"] if width < 96 else [])
        asked = order("too large", options=StylizationOptions(output_size=limit + 1, enlarge=True))
        assert fields(await refusal(caller.create(asked))) == ["spec.options.output_size"]

    @pytest.mark.parametrize(("tenant", "limit", "width"), [("fine", 90, 90), ("studio", 8192, 96)])
    async def test_a_tenants_limit_holds_for_styles_that_are_applied(self, secured, tenant, limit, width):
        caller, image = secured.caller(tenant), StylePhoto(image=photo(96, 60))
        style = StyleApplication(style=await caller.upload_style(style_file("applied", 81)))
        rendered = caller.styles.RenderStyle(RenderStyleRequest(application=style, photo=image))
        applied = caller.styles.ApplyStyle(iter([ApplyStyleRequest(application=style), ApplyStyleRequest(photo=image)]))
        for responses in (rendered, applied):
            assert [part.metadata.width_px async for part in responses if part.HasField("metadata")] == [width]
        style.controls.output_size = limit + 1
        for refused in (
            caller.styles.RenderStyle(RenderStyleRequest(application=style, photo=image)),
            caller.styles.ApplyStyle(iter([ApplyStyleRequest(application=style)])),
        ):
            assert fields(await refusal(anext(aiter(refused)))) == ["application.controls.output_size"]
        await caller.styles.DeleteStyle(DeleteStyleRequest(name=style.style))

    async def test_a_tenant_has_its_share_of_the_queue_whatever_others_have(self, secured, studio, gate):
        limited = secured.caller("limited")
        held = [await studio.create(order(f"hold={gate} first"))]
        await eventually(lambda: secured.app.scheduler.running)
        held += [await limited.create(order(f"waits {number}")) for number in range(4)]
        status = await refusal(limited.create(order("one too many")))
        assert (reason(status), details(status, error_details_pb2.ErrorInfo).metadata["capacity"]) == (
            "QUEUE_FULL",
            "4",
        )
        held.append(await studio.create(order("from the same address")))
        operator = secured.caller("ops")
        for job in held:
            await operator.cancel(job.name)
        gate.touch()

    async def test_a_tenant_has_its_open_calls(self, secured, studio, gate):
        limited = secured.caller("limited")
        job = await limited.create(order(f"hold={gate} watched", options=StylizationOptions(steps=5)))
        watches = [limited.begin_watch(job.name) for _ in range(4)]
        for _, events, _ in watches:
            await eventually(lambda events=events: events)
        status = await refusal(limited.get(job.name))
        assert (reason(status), details(status, error_details_pb2.ErrorInfo).metadata["per_caller"]) == (
            "TOO_MANY_CALLS",
            "4",
        )
        await studio.info()
        gate.touch()
        for _, _, watching in watches:
            assert (await watching).status is None

    async def test_a_tenant_stores_its_bytes(self, secured):
        status = await refusal(secured.caller("limited").upload(b"x" * 60_000))
        assert (reason(status), details(status, error_details_pb2.ErrorInfo).metadata["limit"]) == (
            "STORAGE_FULL",
            "50000",
        )

    async def test_a_hasty_tenant_is_told_when_to_call_again(self, secured, studio):
        hasty = secured.caller("hasty")
        told = await hasty.info()
        assert (told.limits.max_calls_per_minute, told.limits.max_call_burst) == (60, 3)
        status = None
        for _ in range(5):
            try:
                await hasty.info()
            except grpc.aio.AioRpcError as error:
                status = status_of(error)
                break
        assert (status.code, reason(status)) == (grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], "RATE_LIMITED")
        assert 0 < details(status, error_details_pb2.RetryInfo).retry_delay.ToTimedelta().total_seconds() <= 1
        await studio.info()


class TestTls:
    async def test_plaintext_on_a_port_with_tls_gets_nothing(self, secured):
        async with grpc.aio.insecure_channel(secured.app.grpc_address) as channel:
            stub = server_service_pb2_grpc.ServerServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await stub.GetServerInfo(server_service_pb2.GetServerInfoRequest(), timeout=5)
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE

    async def test_a_server_of_a_foreign_authority_is_not_believed(self, secured):
        failed = await secured.caller("studio", ca=Authority().pem).refused()
        assert failed.code() is grpc.StatusCode.UNAVAILABLE
        assert "CERTIFICATE_VERIFY_FAILED" in failed.details()

    async def test_a_replaced_certificate_serves_new_connections_and_drops_no_stream(self, secured, studio, gate):
        job = await studio.create(order(f"hold={gate} watched by twenty"))
        watchers = [secured.caller("studio") for _ in range(20)]
        watches = [watcher.begin_watch(job.name) for watcher in watchers]
        for _, events, _ in watches:
            await eventually(lambda events=events: events)
        expected, before = secured.authority, secured.app.identity.certificates
        secured.authority = Authority("the next authority")
        secured.authority.issue_server().write(secured.folder, "server")
        await eventually(lambda: secured.app.identity.certificates is not before)
        assert (await secured.caller("studio").info()).caller.tenant == "studio"
        assert (await secured.caller("studio", ca=expected.pem).refused()).code() is grpc.StatusCode.UNAVAILABLE
        gate.touch()
        for _, events, watching in watches:
            assert (await watching).status is None
            assert events[-1].WhichOneof("event") == "result"
        async with http(secured) as session, session.get("/livez") as response:  # the HTTP port follows too
            assert response.status == 200

    async def test_a_certificate_that_expires_while_it_is_served_is_not_believed(self, secured):
        secured.authority.issue_server(valid=timedelta(seconds=4)).write(secured.folder, "server")
        secured.app.identity.refresh()
        expires_at = secured.app.identity.certificates.expires_at.timestamp()
        metric = "clipstyler_certificate_expiry_timestamp_seconds"
        registry = secured.app.metrics.registry
        assert registry.get_sample_value(metric, {"certificate": "server"}) == expires_at
        await asyncio.sleep(expires_at + 0.5 - time.time())
        failed = await secured.caller("studio").refused()
        assert "CERTIFICATE_VERIFY_FAILED" in failed.details()
        secured.authority.issue_server().write(secured.folder, "server")
        secured.app.identity.refresh()
        await secured.caller("studio").info()

    async def test_a_renewal_that_has_expired_is_not_taken(self, secured):
        before = secured.app.identity.certificates
        secured.authority.issue_server(valid=-DAY).write(secured.folder, "server")
        with structlog.testing.capture_logs() as lines:
            await eventually(lambda: any(line["event"] == "identity_not_reloaded" for line in lines))
        assert all(str(secured.folder / "server") in line["problem"] and "expired" in line["problem"] for line in lines)
        assert secured.app.identity.certificates is before
        await secured.caller("studio").info()
        secured.authority.issue_server().write(secured.folder, "server")
        await eventually(lambda: secured.app.identity.certificates is not before)
        await secured.caller("studio").info()


class TestClientCertificates:
    def signed(self, secured: Secured, *names: x509.GeneralName, common_name: str = "a client", **options: object):
        issued = options.pop("authority", secured.authority).issue(common_name, *names, **options)
        return issued.key, issued.chain

    async def test_a_certificate_stands_for_a_tenant(self, mutual):
        uri, dns = x509.UniformResourceIdentifier("spiffe://example/certified"), x509.DNSName("ops.example")
        user = (await mutual.caller(certificate=self.signed(mutual, uri)).info()).caller
        operator = (await mutual.caller(certificate=self.signed(mutual, dns)).info()).caller
        by_common_name = (await mutual.caller(certificate=self.signed(mutual, common_name="ops.example")).info()).caller
        assert (user.tenant, user.role) == ("certified", ServerInfo.Caller.ROLE_USER)
        assert (operator.tenant, operator.role) == ("ops", ServerInfo.Caller.ROLE_OPERATOR)
        assert by_common_name == operator

    async def test_the_common_name_counts_only_without_other_names(self, mutual):
        certificate = self.signed(mutual, x509.DNSName("elsewhere.example"), common_name="ops.example")
        assert reason(status_of(await mutual.caller(certificate=certificate).refused())) == "CREDENTIALS_MISSING"

    async def test_a_certificate_of_no_tenant_needs_a_token(self, mutual):
        certificate = self.signed(mutual, x509.DNSName("gateway.example"))
        assert reason(status_of(await mutual.caller(certificate=certificate).refused())) == "CREDENTIALS_MISSING"
        assert (await mutual.caller("studio", certificate=certificate).info()).caller.tenant == "studio"

    async def test_a_stream_ends_when_its_certificate_stands_for_no_tenant(self, mutual, gate):
        certificate = self.signed(mutual, x509.UniformResourceIdentifier("spiffe://example/certified"))
        watcher = mutual.caller(certificate=certificate)
        asked = order(f"hold={gate} step=0.02 watched", options=StylizationOptions(steps=50))
        _, events, watching = watcher.begin_watch((await watcher.create(asked)).name)
        await eventually(lambda: events)
        tenants = mutual.folder / "tenants.toml"
        tenants.write_text(TENANTS.replace("spiffe://example/certified", "spiffe://example/another"))
        mutual.app.identity.refresh()
        gate.touch()
        assert reason((await watching).status) == "CREDENTIALS_INVALID"
        assert reason(status_of(await watcher.refused())) == "CREDENTIALS_MISSING"
        tenants.write_text(TENANTS)
        mutual.app.identity.refresh()

    async def test_no_foreign_or_expired_certificate_connects(self, mutual):
        name = x509.DNSName("ops.example")
        foreign = self.signed(mutual, name, authority=Authority())
        expired = self.signed(mutual, name, valid=-DAY)
        for certificate in (None, foreign, expired):
            failed = await mutual.caller("studio", certificate=certificate).refused()
            assert failed.code() is grpc.StatusCode.UNAVAILABLE


def http(secured: Secured, token: str | None = None) -> aiohttp.ClientSession:
    """A session with the HTTP port, over TLS."""
    context = ssl.create_default_context(cadata=secured.authority.pem.decode())
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connector = aiohttp.TCPConnector(ssl=context)
    return aiohttp.ClientSession(f"https://{secured.app.http_address}", headers=headers, connector=connector)


class TestHttp:
    @pytest.mark.parametrize(("tenant", "status"), [(None, 401), ("studio", 401), ("probe", 200), ("ops", 200)])
    async def test_metrics_are_for_probes_and_operators(self, secured, tenant, status):
        async with http(secured, secured.texts.get(tenant)) as session, session.get("/metrics") as response:
            assert response.status == status
            assert ("clipstyler_" in await response.text()) == (status == 200)

    async def test_a_token_that_comes_twice_is_none(self, secured):
        twice = [("Authorization", f"Bearer {secured.texts['ops']}")] * 2
        async with http(secured) as session, session.get("/metrics", headers=CIMultiDict(twice)) as response:
            assert response.status == 401

    async def test_readiness_is_for_all_and_its_reasons_are_not(self, secured):
        for tenant in (None, "probe"):
            async with http(secured, secured.texts.get(tenant)) as session:
                async with session.get("/readyz") as response:
                    assert (response.status, "problems" in await response.json()) == (200, tenant is not None)
                async with session.get("/livez") as response:
                    assert response.status == 200

    async def test_connections_without_a_handshake_leave_room_for_those_with_one(self, secured):
        host, port = secured.app.http_address.rsplit(":", 1)
        async with http(secured) as session, session.get("/livez") as response:
            assert response.status == 200  # in a connection that stays, and is the first to go
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(2 * MOST_CONNECTIONS)]

        def open_ones() -> int:
            return sum(not (reader.at_eof() or reader.exception()) for reader, _ in silent)

        await eventually(lambda: open_ones() <= MOST_CONNECTIONS, 5)  # before a handshake takes too long
        assert open_ones() > MOST_CONNECTIONS // 2
        async with http(secured) as session, session.get("/livez") as response:
            assert response.status == 200
        for _, writer in silent:
            writer.close()

    async def test_plaintext_gets_nothing(self, secured):
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"http://{secured.app.http_address}/livez")


class TestExposure:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "::0", ""])
    @pytest.mark.parametrize("setting", ["host", "http_host"])
    def test_a_server_without_tls_does_not_open_to_other_machines(self, setting, host):
        with pytest.raises(ServerStartError, match=rf"^{setting} '{host}' can be reached .*--insecure"):
            App(settings(**{setting: host}), scripted.make)

    async def test_the_process_says_so_and_exits(self, launch):
        server = await launch(host="0.0.0.0")
        assert (await server.ended())[0] == 1
        assert "--insecure" in server.line("server_cannot_start")["problem"]

    async def test_the_operator_may_insist(self, serve):
        server = await serve(host="0.0.0.0", http_host="0.0.0.0", insecure=True)
        assert (await server.info()).version

    def test_http_auth_needs_tokens(self):
        with pytest.raises(ServerStartError, match="http_auth needs tokens"):
            App(settings(http_auth=True), scripted.make)


async def test_no_token_is_ever_logged_or_stored(launch, tmp_path):
    authority = Authority()
    chain, key = authority.issue_server().write(tmp_path, "server")
    text, token = tokens.draw("studio", Role.USER, None)
    tokens.add_token(tmp_path / "tokens", token)
    server = await launch(tls_cert=chain, tls_key=key, tokens=tmp_path / "tokens", log_level="debug")
    await eventually(lambda: server.line("server_ready"))
    address = server.line("server_ready")["grpc"]
    wrong = text[:-3] + "xyz"
    for given in (text, wrong):
        caller = As(address, authority.pem, given)
        call = caller.stub.CreateStylization(order("logged"))
        await (refusal(call) if given == wrong else call)
        await caller.channel.close()
    await eventually(lambda: len([line for line in server.lines if line["event"] == "rpc"]) >= 2)
    (accepted, refused) = [line for line in server.lines if line["event"] == "rpc"][:2]
    assert (accepted["tenant"], accepted["token"], refused.get("tenant")) == ("studio", token.id, None)
    server.process.terminate()
    await server.ended()
    written = json.dumps(server.lines).encode() + b"".join(
        path.read_bytes() for path in Path(server.settings["data_dir"]).rglob("*") if path.is_file()
    )
    for secret in (text, wrong):
        assert secret.split("_", 2)[2][:20].encode() not in written
        assert tokens.digest_of(secret).encode() not in written


async def test_a_token_in_a_header_that_is_no_text_is_not_logged(launch, tmp_path):
    text, token = tokens.draw("studio", Role.USER, None)
    tokens.add_token(tmp_path / "tokens", token)
    server = await launch(tokens=tmp_path / "tokens", log_level="debug")
    await eventually(lambda: server.line("server_ready"))
    address, path = server.line("server_ready")["grpc"], "/clipstyler.v1.ServerService/GetServerInfo"
    for name in ("authorization", "x-request-id", "traceparent", "x-clipstyler-client", "anything"):
        sent = {name: f"Bearer {text}\xff"}
        answer = await http2.call(address, path, http2.message(b""), 5, headers=sent)
        assert (answer.name, answer.is_mapped) == ("UNAUTHENTICATED", True)
    server.process.terminate()
    await server.ended()
    await server.close()
    assert len([line for line in server.lines if line["event"] == "rpc"]) == 5
    assert text not in json.dumps(server.lines) + "".join(server.raw_lines)
