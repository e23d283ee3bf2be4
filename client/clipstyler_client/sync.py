"""The client for ordinary code."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

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
from clipstyler_client.translate import EventReader, Photo, request_to_proto

INFO_TIMEOUT_S = 10.0
_POLL_S = 0.1
_Value = TypeVar("_Value")


class StylizationStream(Iterator[Event]):
    """Events of a running stylization; the last is its `Result`.

    Closing a call early cancels the work, closing a watch changes nothing.

    Usable in a `with` statement, which closes it.
    """

    def __init__(self, resume: Resume) -> None:
        self._resume = resume
        self._ended = False
        self._begin()

    def _begin(self) -> None:
        self._call, self._reader = self._resume.begin(), EventReader()

    def __next__(self) -> Event:
        """Wait for the next event.

        Raises
        ------
        StylizeError
            The call failed.
        """
        if self._ended:
            raise StopIteration
        try:
            event = self._next()
        except StylizeError:
            self._ended = True
            raise
        self._ended = isinstance(event, Result)
        return event

    def _next(self) -> Event:
        while True:
            try:
                for response in self._call:
                    event = self._reader.read(response.event)
                    if event is not None:
                        self._resume.heard(event)
                        return event
            except (grpc.RpcError, ServerUnavailableError) as error:
                time.sleep(self._resume.delay_after(error))
                self._begin()
            else:
                raise BrokenResultError("DATA_LOSS", "the stream ended without a result; ask again", "BROKEN_RESULT")

    def result(self) -> Result:
        """Wait for the end and return the result, passing over the other events.

        Raises
        ------
        StylizeError
            The call failed.
        """
        for event in self:
            if isinstance(event, Result):
                return event
        raise BrokenResultError("DATA_LOSS", "the stream was closed before its result", "BROKEN_RESULT")

    def close(self) -> None:
        """End the call; unless the result is here, the server stops within one step."""
        self._ended = True
        self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Client:
    """A connection to a clipstyler server. Thread-safe; close it, or use it in a `with` statement.

    Parameters
    ----------
    target
        "HOST:PORT".
    credentials
        For TLS; without them the connection is not encrypted.
    """

    def __init__(self, target: str = DEFAULT_TARGET, credentials: grpc.ChannelCredentials | None = None) -> None:
        self.target = target
        options = channel_options()
        if credentials is None:
            self._channel = grpc.insecure_channel(target, options)
        else:
            self._channel = grpc.secure_channel(target, credentials, options)
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
    ) -> StylizationStream:
        """Stylize a photo by a text.

        A call that a restart of the server interrupts is begun anew: its events begin again, with the same seed if
        `options` names one. `run` goes on where it was.

        Parameters
        ----------
        photo
            Bytes of an image file, or its path.
        style_text
            What the result should look like.
        source_text
            What the photo is. Default: the encoders' source text.
        options, previews
            How it is computed, and which previews are sent. Default: the server's.
        result_format
            "png" (default), "jpeg" or "webp".
        timeout_s
            Seconds the whole call may take.

        Returns
        -------
        An iterator of events; `.result()` waits for the end.

        Raises
        ------
        OSError
            The file cannot be read.
        OptionError
            An option is none of the known ones.
        """
        request = request_to_proto(photo, style_text, source_text, options, previews, result_format)
        allowance = Allowance(timeout_s)
        return StylizationStream(Resume(lambda _: self._stylization.Stylize(request, timeout=allowance.left_s)))

    def call(self, call: Call[_Value], timeout_s: float = CALL_TIMEOUT_S) -> _Value:
        """Make a call: one of `clipstyler_client.encoders` or `clipstyler_client.jobs`, which have the parameters.

        client.call(encoders.classify("cat.jpg", ["a cat", "a dog"]))

        Raises
        ------
        StylizeError
            The call failed.
        """
        try:
            response = call.start(self._channel, timeout_s)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return call.read(response)

    def run(self, create: Call[Job], patience_s: float = PATIENCE_S) -> StylizationStream:
        """Create a job and watch it: a stylization that survives this connection and restarts of the server.

        client.run(jobs.create("photo.jpg", "fire")).result()

        Raises
        ------
        StylizeError
            The job was not accepted.
        """
        job = self.call(create)
        return self.watch(job.name, patience_s=patience_s)

    def watch(self, name: str, *, after_sequence: int = 0, patience_s: float = PATIENCE_S) -> StylizationStream:
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

        return StylizationStream(Resume(watch_after, after_sequence, patience_s))

    def list_jobs(self, state: str | None = None) -> Iterator[Job]:
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
            found = self.call(jobs.page(state, token=token))
            yield from found.jobs
            token = found.next_token
            if not token:
                return

    def download(self, name: str, kind: str = "result", timeout_s: float = CALL_TIMEOUT_S) -> JobImage:
        """Fetch an image of a job: its "result", latest "preview", or "content".

        Raises
        ------
        StylizeError
            The call failed: there is no such image yet, or it arrived broken.
        """
        assembly = ImageAssembly()
        try:
            for part in self._stylization.GetStylizationImage(jobs.image_request(name, kind), timeout=timeout_s):
                assembly.add(part)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return assembly.finish()

    def upload(self, photo: Photo, timeout_s: float = CALL_TIMEOUT_S) -> Upload:
        """Send a large photo in pieces, for `jobs.create`.

        Raises
        ------
        StylizeError
            The call failed.
        """
        try:
            sent = self._stylization.UploadImage(upload_messages(photo), timeout=timeout_s)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return Upload(sent.upload)

    def server_info(self, timeout_s: float = INFO_TIMEOUT_S) -> ServerInfo:
        """Ask for version, limits, encoders, workers and queue.

        Raises
        ------
        StylizeError
            The call failed.
        """
        try:
            response = self._server.GetServerInfo(server_service_pb2.GetServerInfoRequest(), timeout=timeout_s)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return info_from_proto(response)

    def wait_until_ready(self, timeout_s: float = 60.0) -> ServerInfo:
        """Wait until a worker takes jobs.

        Raises
        ------
        ServerUnavailableError
            None did in time.
        """
        deadline = time.monotonic() + timeout_s
        problem = "its worker is still starting"
        while time.monotonic() < deadline:
            try:
                info = self.server_info(timeout_s=max(_POLL_S, min(INFO_TIMEOUT_S, deadline - time.monotonic())))
            except StylizeError as error:
                problem = error.message
            else:
                if info.is_ready:
                    return info
            time.sleep(_POLL_S)
        raise ServerUnavailableError("UNAVAILABLE", f"{self.target} was not ready after {timeout_s:g} s: {problem}")

    def close(self) -> None:
        """Close the connection; calls that run are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
