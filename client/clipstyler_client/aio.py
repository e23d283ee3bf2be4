"""The client for asyncio; the same names as the sync one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import grpc.aio

from clipstyler.v1 import (
    server_service_pb2,
    server_service_pb2_grpc,
    stylization_service_pb2_grpc,
)
from clipstyler_client import jobs
from clipstyler_client.calls import CALL_TIMEOUT_S, Call
from clipstyler_client.channel import DEFAULT_TARGET, channel_options
from clipstyler_client.errors import BrokenResultError, ServerUnavailableError, StylizeError, from_rpc_error
from clipstyler_client.events import Event, Result
from clipstyler_client.jobs import ImageAssembly, Job, JobImage, Upload, upload_messages
from clipstyler_client.options import PreviewOptions, StylizeOptions
from clipstyler_client.resume import PATIENCE_S, Allowance, Resume
from clipstyler_client.server_info import ServerInfo, info_from_proto
from clipstyler_client.sync import INFO_TIMEOUT_S
from clipstyler_client.translate import EventReader, Photo, request_to_proto

_POLL_S = 0.1
_Value = TypeVar("_Value")


class AsyncStylizationStream(AsyncIterator[Event]):
    """Events of a running stylization; the last is its `Result`.

    Closing a call early cancels the work, closing a watch changes nothing.

    Usable in an `async with` statement, which closes it.
    """

    def __init__(self, resume: Resume) -> None:
        self._resume = resume
        self._ended = False
        self._begin()

    def _begin(self) -> None:
        self._call, self._reader = self._resume.begin(), EventReader()
        self._messages = aiter(self._call)

    async def __anext__(self) -> Event:
        """Wait for the next event.

        Raises
        ------
        StylizeError
            The call failed.
        """
        if self._ended:
            raise StopAsyncIteration
        try:
            event = await self._next()
        except StylizeError:
            self._ended = True
            raise
        self._ended = isinstance(event, Result)
        return event

    async def _next(self) -> Event:
        while True:
            try:
                async for response in self._messages:
                    event = self._reader.read(response.event)
                    if event is not None:
                        self._resume.heard(event)
                        return event
            except (grpc.RpcError, ServerUnavailableError) as error:
                await asyncio.sleep(self._resume.delay_after(error))
                self._begin()
            else:
                raise BrokenResultError("DATA_LOSS", "the stream ended without a result; ask again", "BROKEN_RESULT")

    async def result(self) -> Result:
        """Wait for the end and return the result, passing over the other events.

        Raises
        ------
        StylizeError
            The call failed.
        """
        async for event in self:
            if isinstance(event, Result):
                return event
        raise BrokenResultError("DATA_LOSS", "the stream was closed before its result", "BROKEN_RESULT")

    def close(self) -> None:
        """End the call; unless the result is here, the server stops within one step."""
        self._ended = True
        self._call.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient:
    """A connection to a clipstyler server for asyncio; see `clipstyler_client.Client` for all parameters.

    Make it where an event loop runs, and close it, or use it in an `async with` statement.
    """

    def __init__(self, target: str = DEFAULT_TARGET, credentials: grpc.ChannelCredentials | None = None) -> None:
        self.target = target
        options = channel_options()
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(target, options)
        else:
            self._channel = grpc.aio.secure_channel(target, credentials, options)
        self._stylization = stylization_service_pb2_grpc.StylizationServiceStub(self._channel)
        self._server = server_service_pb2_grpc.ServerServiceStub(self._channel)

    def stylize(
        self,
        photo: Photo,
        style_text: str,
        *,
        source_text: str | None = None,
        options: StylizeOptions | None = None,
        previews: PreviewOptions | None = None,
        result_format: str | None = None,
        timeout_s: float | None = None,
    ) -> AsyncStylizationStream:
        """Stylize a photo by a text: an async iterator of events; `await .result()` waits for the end."""
        request = request_to_proto(photo, style_text, source_text, options, previews, result_format)
        allowance = Allowance(timeout_s)
        return AsyncStylizationStream(Resume(lambda _: self._stylization.Stylize(request, timeout=allowance.left_s)))

    async def call(self, call: Call[_Value], timeout_s: float = CALL_TIMEOUT_S) -> _Value:
        """Make a call: one of `clipstyler_client.encoders` or `clipstyler_client.jobs`, which have the parameters.

        client.call(encoders.classify("cat.jpg", ["a cat", "a dog"]))

        Raises
        ------
        StylizeError
            The call failed.
        """
        try:
            response = await call.start(self._channel, timeout_s)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return call.read(response)

    async def run(self, create: Call[Job], patience_s: float = PATIENCE_S) -> AsyncStylizationStream:
        """Create a job and watch it: a stylization that survives this connection and restarts of the server.

        stream = await client.run(jobs.create("photo.jpg", "fire"))

        Raises
        ------
        StylizeError
            The job was not accepted.
        """
        job = await self.call(create)
        return self.watch(job.name, patience_s=patience_s)

    def watch(self, name: str, *, after_sequence: int = 0, patience_s: float = PATIENCE_S) -> AsyncStylizationStream:
        """Watch a job to its end; leaving changes nothing for the job.

        An interrupted watch is taken up again behind the last event, also over a restart of the server.

        Parameters
        ----------
        name
            Of the job, or its bare UUID.
        after_sequence
            Number of the last event that is known already.
        patience_s
            Seconds without a word of the server after which the watch fails.
        """

        def watch_after(sequence: int) -> Any:
            return self._stylization.WatchStylization(jobs.watch_request(name, sequence))

        return AsyncStylizationStream(Resume(watch_after, after_sequence, patience_s))

    async def list_jobs(self, state: str | None = None) -> AsyncIterator[Job]:
        """Go through all jobs, newest first, or those in one state.

        Raises
        ------
        OptionError
            There is no such state.
        StylizeError
            A call failed.
        """
        token = ""
        while True:
            found = await self.call(jobs.page(state, token=token))
            for job in found.jobs:
                yield job
            token = found.next_token
            if not token:
                return

    async def download(self, name: str, kind: str = "result", timeout_s: float = CALL_TIMEOUT_S) -> JobImage:
        """Fetch an image of a job: its "result", latest "preview", or "content".

        Raises
        ------
        StylizeError
            The call failed: there is no such image yet, or it arrived broken.
        """
        assembly = ImageAssembly()
        try:
            async for part in self._stylization.GetStylizationImage(jobs.image_request(name, kind), timeout=timeout_s):
                assembly.add(part)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return assembly.finish()

    async def upload(self, photo: Photo, timeout_s: float = CALL_TIMEOUT_S) -> Upload:
        """Send a large photo in pieces, for `jobs.create`.

        Raises
        ------
        StylizeError
            The call failed.
        """
        try:
            sent = await self._stylization.UploadImage(upload_messages(photo), timeout=timeout_s)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return Upload(sent.upload)

    async def server_info(self, timeout_s: float = INFO_TIMEOUT_S) -> ServerInfo:
        """Ask for version, limits, encoders, workers and queue.

        Raises
        ------
        StylizeError
            The call failed.
        """
        try:
            response = await self._server.GetServerInfo(server_service_pb2.GetServerInfoRequest(), timeout=timeout_s)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return info_from_proto(response)

    async def wait_until_ready(self, timeout_s: float = 60.0) -> ServerInfo:
        """Wait until a worker takes jobs.

        Raises
        ------
        ServerUnavailableError
            None did in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    try:
                        info = await self.server_info()
                    except StylizeError:
                        info = None
                    if info is not None and info.is_ready:
                        return info
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            raise ServerUnavailableError("UNAVAILABLE", f"{self.target} was not ready after {timeout_s:g} s") from error

    async def close(self) -> None:
        """Close the connection; calls that run are cancelled."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
