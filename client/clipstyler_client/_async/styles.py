"""Styles: fitted once, applied to any number of photos."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Unpack

import grpc

from clipstyler.v1 import style_service_pb2 as pb
from clipstyler_client import _styles as values
from clipstyler_client._async.connection import CALL_TIMEOUT_S, AsyncConnection, pause, problem_of
from clipstyler_client._async.jobs import AsyncJobs
from clipstyler_client._codec import Photo, photo_bytes, spec_message
from clipstyler_client._ending import Ending
from clipstyler_client._errors import cancellation_named
from clipstyler_client._jobs import Job, JobImage, Upload, full_name, job, priority_number
from clipstyler_client._options import PreviewOptions, StylizeOptions, encoded, several
from clipstyler_client._resume import Retries, check_timeout
from clipstyler_client._styles import Photos, Style, StyleControls, StyledPhoto, StylePage


class AsyncStyles:
    """The calls on styles; `client.styles`. Each raises `StylizeError`."""

    def __init__(self, connection: AsyncConnection, jobs: AsyncJobs) -> None:
        self._connection = connection
        self._stub = connection.styles
        self._jobs = jobs

    async def create(
        self,
        job: str = "",
        *,
        photos: Sequence[Photo | Upload] = (),
        style_text: str = "",
        **options: Unpack[StylizeOptions],
    ) -> Style:
        """Make a style of a finished job that was created with `keep_style=True`, or fit one and wait for it.

        Parameters
        ----------
        job
            Name of the job, or its bare UUID; the other arguments are left out then.
        photos, style_text, **options
            As in `fit`, which also tells how far it is.
        """
        if job:
            request = encoded(pb.CreateStyleRequest, stylization=full_name(job))
            return values.style((await self._connection.call(self._stub.CreateStyle, request)).style)
        fit = await self.fit(photos, style_text, **options)
        return await self.get((await self._jobs.watch(fit.name).result()).style)

    async def fit(
        self,
        photos: Sequence[Photo | Upload],
        style_text: str,
        *,
        source_text: str | None = None,
        previews: PreviewOptions | None = None,
        request_id: str | None = None,
        priority: str = "normal",
        timeout_s: float | None = None,
        **options: Unpack[StylizeOptions],
    ) -> Job:
        """Create a job that fits a style to a text on photos, which take turns; `jobs` watches and cancels it.

        Its result is the first photo in the style, and names the style. Photos are sent one by one before. Retries
        create it once: the call is idempotent by its request id.

        Parameters
        ----------
        photos
            At most 16: bytes of image files, their paths, or what `jobs.upload` returned. None: a few of the server's.
        style_text, source_text, previews, **options
            As in `stylize`.
        request_id, priority, timeout_s
            As in `jobs.create`.

        Raises
        ------
        OSError
            A file cannot be read.
        OptionError
            An option is unknown or does not fit.
        """
        request = encoded(
            pb.CreateStyleRequest,
            fit=pb.StyleFit(
                spec=spec_message(None, style_text, source_text, options, previews, None),
                photos=[
                    pb.StylePhoto(upload=(await self._sent(photo)).name)
                    for photo in several("photos", photos, str, bytes, Upload)
                ],
            ),
            request_id=request_id or str(uuid.uuid4()),
            priority=priority_number(priority),
        )
        if timeout_s is not None:
            request.timeout.FromTimedelta(timedelta(seconds=check_timeout(timeout_s)))
        return job((await self._connection.call(self._stub.CreateStyle, request)).stylization)

    async def _sent(self, photo: Photo | Upload) -> Upload:
        return photo if isinstance(photo, Upload) else await self._jobs.upload(photo)

    async def get(self, name: str) -> Style:
        """Get a style, with its thumbnail, by its name or bare SHA-256."""
        request = encoded(pb.GetStyleRequest, name=values.style_name(name))
        return values.style((await self._connection.call(self._stub.GetStyle, request)).style)

    async def list(self) -> AsyncIterator[Style]:
        """Iterate over all styles: the bundled ones, then others, newest first."""
        token = ""
        while True:
            page = await self.page(token=token)
            for style in page.styles:
                yield style
            token = page.next_token
            if not token:
                return

    async def page(self, page_size: int = 0, token: str = "") -> StylePage:
        """Get one page of styles."""
        request = encoded(pb.ListStylesRequest, page_size=page_size, page_token=token)
        return values.style_page(await self._connection.call(self._stub.ListStyles, request))

    async def delete(self, name: str) -> None:
        """Delete a style that is not bundled."""
        await self._connection.call(
            self._stub.DeleteStyle, encoded(pb.DeleteStyleRequest, name=values.style_name(name))
        )

    async def download(self, name: str, *, timeout_s: float = CALL_TIMEOUT_S) -> bytes:
        """Download the file of a style, checked against its name."""
        request = encoded(pb.DownloadStyleRequest, name=values.style_name(name))

        async def attempt(left_s: float | None) -> bytes:
            data = bytearray()
            async for part in self._stub.DownloadStyle(request, timeout=left_s):
                data += part.data
            return values.checked_file(name, bytes(data))

        file: bytes = await self._connection.retried(attempt, timeout_s)
        return file

    async def upload(self, file: Photo) -> Style:
        """Store the file of a style, given as bytes or a path."""
        request = pb.UploadStyleRequest(data=photo_bytes(file, "file"))
        return values.style((await self._connection.call(self._stub.UploadStyle, request)).style)

    async def apply(
        self,
        style: str,
        photos: Photos,
        *,
        second_style: str = "",
        result_format: str | None = None,
        timeout_s: float | None = None,
        **controls: Unpack[StyleControls],
    ) -> AsyncIterator[StyledPhoto]:
        """Apply a style to photos. Each is sent when the server asks for it, and yielded as it is done.

        Parameters
        ----------
        style
            Name of a style, or its SHA-256.
        photos
            Bytes of image files, their paths, or what `jobs.upload` returned.
        second_style
            A style that is mixed in.
        result_format
            "png" (default), "jpeg" or "webp".
        timeout_s
            Seconds that the whole call may take.
        **controls
            `strength`, `preserve_color`, `mix`, `output_size`.

        Yields
        ------
        For each photo, in order: its image, or the error why there is none.

        Raises
        ------
        OptionError
            A control is unknown or does not fit.
        StylizeError
            The call failed.
        Exception
            What reading a photo raised, after those before it.
        """
        how = values.application(style, second_style, controls, result_format)
        assembly = values.StyledAssembly()
        messages = values.ApplyMessages(how, photos)
        retries = Retries(timeout_s)
        while True:
            ending = Ending()
            call = ending.of(self._stub.ApplyStyle(messages.begin(), timeout=retries.left_s))
            try:
                with cancellation_named():
                    async for part in call:
                        messages.answered()
                        if styled := assembly.add(part):
                            yield styled
                assembly.end()
                break
            except grpc.RpcError as error:
                problem = await problem_of(ending, error)
                if messages.is_answered:
                    raise problem from error
                delay_s = retries.delay_after(problem)
            finally:
                call.cancel()  # the server need not finish what is no longer read
            await pause(delay_s, lambda: self._connection.is_closed)
        messages.end()

    async def render(
        self,
        photo: Photo | Upload | None = None,
        *,
        style: str = "",
        job: str = "",
        second_style: str = "",
        result_format: str | None = None,
        timeout_s: float = CALL_TIMEOUT_S,
        **controls: Unpack[StyleControls],
    ) -> JobImage:
        """Draw one photo in a style, or in that of a finished job which kept it; without a photo, that of the job.

        Raises
        ------
        OptionError
            A control is unknown or does not fit.
        """
        how = values.application(style, second_style, controls, result_format)
        request = encoded(pb.RenderStyleRequest, application=how, stylization=full_name(job) if job else "")
        if photo is not None:
            request.photo.CopyFrom(values.style_photo(photo))

        async def attempt(left_s: float | None) -> JobImage:
            assembly = values.StyledAssembly()
            image = None
            call = self._stub.RenderStyle(request, timeout=left_s)
            try:
                async for part in call:
                    image = assembly.add_part(part)
            finally:
                call.cancel()  # the server need not finish what is broken
            if image is None:
                raise values.broken_image()
            return image

        image: JobImage = await self._connection.retried(attempt, timeout_s)
        return image
