"""Durable jobs: they survive this process, the connection and restarts of the server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Unpack

import grpc

from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler_client import _jobs as values
from clipstyler_client._sync.connection import CALL_TIMEOUT_S, Connection, problem_of
from clipstyler_client._sync.stream import StylizationStream
from clipstyler_client._codec import Photo, photo_bytes, spec_message
from clipstyler_client._ending import Ending
from clipstyler_client._errors import cancellation_named
from clipstyler_client._jobs import Job, JobImage, JobPage, Upload
from clipstyler_client._options import PreviewOptions, StylizeOptions, encoded
from clipstyler_client._regions import Region, region_message
from clipstyler_client._resume import RESUME_TIMEOUT_S, Resume, check_timeout


class Jobs:
    """The calls on jobs; `client.jobs`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = connection.stylizations

    def create(
        self,
        photo: Photo | Upload,
        style_text: str,
        *,
        source_text: str | None = None,
        region: Region | None = None,
        previews: PreviewOptions | None = None,
        result_format: str | None = None,
        request_id: str | None = None,
        priority: str = "normal",
        timeout_s: float | None = None,
        **options: Unpack[StylizeOptions],
    ) -> Job:
        """Create a job. Retries create it once: the call is idempotent by its request id.

        Parameters
        ----------
        photo
            Bytes of an image file, or its path, or what `upload` returned.
        style_text, source_text, region, previews, result_format, **options
            As in `stylize`.
        request_id
            A UUID4; the same id with the same arguments returns the same job. Default: a fresh one.
        priority
            "low", "normal" or "high".
        timeout_s
            Seconds in which it may wait and run. Default and limit: the server's.

        Raises
        ------
        OSError
            The file cannot be read.
        OptionError
            An option is unknown or does not fit.
        StylizeError
            The job was not accepted.
        """
        request = encoded(
            pb.CreateStylizationRequest,
            spec=spec_message(
                b"" if isinstance(photo, Upload) else photo_bytes(photo),
                style_text,
                source_text,
                options,
                previews,
                result_format,
                upload=photo.name if isinstance(photo, Upload) else "",
                region=region_message(region),
            ),
            request_id=request_id or str(uuid.uuid4()),
            priority=values.priority_number(priority),
        )
        if timeout_s is not None:
            request.timeout.FromTimedelta(timedelta(seconds=check_timeout(timeout_s)))
        return values.job((self._connection.call(self._stub.CreateStylization, request)).stylization)

    def get(self, name: str) -> Job:
        """Get a job by its name or bare UUID; raises `StylizeError`."""
        request = encoded(pb.GetStylizationRequest, name=values.full_name(name))
        return values.job((self._connection.call(self._stub.GetStylization, request)).stylization)

    def list(self, state: str | None = None) -> Iterator[Job]:
        """Iterate over all jobs, newest first, or those in one state.

        Raises
        ------
        OptionError
            The state is unknown.
        StylizeError
            A call failed.
        """
        token = ""
        while True:
            page = self.page(state, token=token)
            for job in page.jobs:
                yield job
            token = page.next_token
            if not token:
                return

    def page(self, state: str | None = None, page_size: int = 0, token: str = "") -> JobPage:
        """Get one page of jobs, newest first; raises as `list`."""
        request = values.page_request(state, page_size, token)
        return values.job_page(self._connection.call(self._stub.ListStylizations, request))

    def watch(
        self, name: str, *, after_sequence: int = 0, resume_timeout_s: float = RESUME_TIMEOUT_S
    ) -> StylizationStream:
        """Watch a job to its end; leaving changes nothing for the job.

        An interrupted watch resumes after the last event, across restarts of the server and resets by proxies too.

        Parameters
        ----------
        name
            Of the job, or its bare UUID.
        after_sequence
            Sequence number of the last event that is known already.
        resume_timeout_s
            Seconds without any message from the server after which the watch fails.
        """

        def watch_after(sequence: int) -> Any:
            request = encoded(pb.WatchStylizationRequest, name=values.full_name(name), after_sequence=sequence)
            return self._stub.WatchStylization(request)

        resume = Resume(watch_after, after_sequence, resume_timeout_s, after_resets=True)
        return StylizationStream(resume, lambda: self._connection.is_closed)

    def cancel(self, name: str) -> Job:
        """Cancel a job within one step; a finished one stays as it is. Raises `StylizeError`."""
        request = encoded(pb.CancelStylizationRequest, name=values.full_name(name))
        return values.job((self._connection.call(self._stub.CancelStylization, request)).stylization)

    def delete(self, name: str) -> None:
        """Delete a finished job and its images; raises `StylizeError`."""
        self._connection.call(
            self._stub.DeleteStylization, encoded(pb.DeleteStylizationRequest, name=values.full_name(name))
        )

    def download(self, name: str, kind: str = "result", *, timeout_s: float = CALL_TIMEOUT_S) -> JobImage:
        """Download an image of a job: its "result", latest "preview", or "content" (the photo).

        Raises
        ------
        OptionError
            The kind is unknown, or the time does not fit.
        StylizeError
            There is no such image yet, or it arrived broken.
        """
        request = values.image_request(name, kind)

        def attempt(left_s: float | None) -> JobImage:
            assembly = values.ImageAssembly()
            for part in self._stub.GetStylizationImage(request, timeout=left_s):
                assembly.add(part)
            return assembly.finish()

        image: JobImage = self._connection.retried(attempt, timeout_s)
        return image

    def upload(self, photo: Photo, *, timeout_s: float = CALL_TIMEOUT_S) -> Upload:
        """Send a large photo or mask in parts, for `create`; raises `StylizeError`."""
        data = photo_bytes(photo)

        def attempt(left_s: float | None) -> Upload:
            ending = Ending()
            try:
                with cancellation_named():
                    call = ending.of(self._stub.UploadImage(values.upload_messages(data), timeout=left_s))
                    return Upload((call).upload)
            except grpc.RpcError as error:
                raise problem_of(ending, error) from error

        upload: Upload = self._connection.retried(attempt, timeout_s)
        return upload
