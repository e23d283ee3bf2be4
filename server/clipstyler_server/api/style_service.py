"""`clipstyler.v1.StyleService`: styles, and photos that are drawn in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any

from clipstyler.imaging import ImageFile
from clipstyler.v1 import style_service_pb2 as pb
from clipstyler.v1.style_service_pb2_grpc import StyleServiceServicer
from clipstyler.v1.stylization_pb2 import Stylization
from clipstyler_server.api.callers import current_caller
from clipstyler_server.api.codec.images import metadata_message
from clipstyler_server.api.codec.requests import read_fit
from clipstyler_server.api.codec.styles import (
    ApplicationRequest,
    read_application,
    read_rendering,
    read_style_name,
    read_style_photo,
    read_styles_page,
    style_message,
    styles_page_token,
)
from clipstyler_server.api.codec.stylization import stylization_message
from clipstyler_server.api.codec.values import read_stylization_name
from clipstyler_server.api.errors import error_message
from clipstyler_server.errors import Reason, ServiceError, Violation, invalid
from clipstyler_server.jobs.admission import Admission
from clipstyler_server.jobs.bundled_photos import bundled_photos
from clipstyler_server.jobs.catalog import Catalog
from clipstyler_server.jobs.chunks import INLINE_BYTES
from clipstyler_server.jobs.job_request import PhotoRequest
from clipstyler_server.jobs.photos import Photo, stored_photo
from clipstyler_server.jobs.style_lane import Application, StyleLane
from clipstyler_server.jobs.style_store import StyleStore
from clipstyler_server.settings import Settings
from clipstyler_server.sharing import Caller
from clipstyler_server.storage.storage import Storage

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

    Context = ServicerContext[Any, Any]

_PART_BYTES = 256 * 1024
# What is wrong with one photo only; whatever else goes wrong ends the call.
_OF_ONE_PHOTO = {Reason.INVALID_FIELD, Reason.OUT_OF_MEMORY, Reason.DEADLINE_EXCEEDED}


class StyleService(StyleServiceServicer):
    """Serves styles.

    Parameters
    ----------
    settings
        Limits.
    styles
        Keeps them.
    lane
        Applies them.
    admission
        Creates jobs that fit some.
    catalog
        Has the jobs that styles come from.
    storage
        Of photos.
    """

    def __init__(
        self,
        settings: Settings,
        styles: StyleStore,
        lane: StyleLane,
        admission: Admission,
        catalog: Catalog,
        storage: Storage,
    ) -> None:
        self._settings = settings
        self._styles = styles
        self._lane = lane
        self._admission = admission
        self._catalog = catalog
        self._storage = storage

    async def CreateStyle(self, request: pb.CreateStyleRequest, context: Context) -> pb.CreateStyleResponse:
        """Make a style of a finished job, or create a job that fits one."""
        if request.HasField("fit"):
            return pb.CreateStyleResponse(stylization=await self._fit(request))
        job_id = read_stylization_name(request.stylization, "stylization")
        style = await self._styles.create(job_id, current_caller())
        return pb.CreateStyleResponse(style=style_message(style, with_thumbnail=True))

    async def GetStyle(self, request: pb.GetStyleRequest, context: Context) -> pb.GetStyleResponse:
        """Get a style."""
        style = await self._styles.get(read_style_name(request.name), current_caller().scope)
        return pb.GetStyleResponse(style=style_message(style, with_thumbnail=True))

    async def ListStyles(self, request: pb.ListStylesRequest, context: Context) -> pb.ListStylesResponse:
        """List styles: bundled ones, then others, newest first."""
        query = read_styles_page(request, current_caller().scope)
        response, size, last = pb.ListStylesResponse(), 0, None
        for style in await self._styles.page(query):
            message = style_message(style, with_thumbnail=False)
            size += message.ByteSize()
            if last and (size > INLINE_BYTES or len(response.styles) == query.size):
                response.next_page_token = styles_page_token(last, query)
                break
            response.styles.append(message)
            last = style
        return response

    async def DeleteStyle(self, request: pb.DeleteStyleRequest, context: Context) -> pb.DeleteStyleResponse:
        """Delete a style."""
        await self._styles.delete(read_style_name(request.name), current_caller().scope)
        return pb.DeleteStyleResponse()

    async def DownloadStyle(
        self, request: pb.DownloadStyleRequest, context: Context
    ) -> AsyncIterator[pb.DownloadStyleResponse]:
        """Stream the file of a style."""
        async for part in self._styles.parts(read_style_name(request.name), current_caller().scope):
            yield pb.DownloadStyleResponse(data=part)

    async def UploadStyle(self, request: pb.UploadStyleRequest, context: Context) -> pb.UploadStyleResponse:
        """Store the file of a style."""
        style = await self._styles.upload(request.data, current_caller())
        return pb.UploadStyleResponse(style=style_message(style, with_thumbnail=True))

    async def ApplyStyle(
        self, request_iterator: AsyncIterator[pb.ApplyStyleRequest], context: Context
    ) -> AsyncIterator[pb.ApplyStyleResponse]:
        """Apply a style to photos, each answered before the next one is read."""
        caller = current_caller()
        first = await anext(request_iterator, None)
        if first is None or not first.HasField("application"):
            raise invalid(Violation("application", "must come in the first message"))
        asked = read_application(first.application, "application.", self._output_limit(caller))
        application = await self._application(asked, caller)
        index = 0
        async for request in request_iterator:
            try:
                photo = await self._photo(_photo_of(request), caller)
                async for part in self._drawn(application, photo, caller, context):
                    yield pb.ApplyStyleResponse(photo_index=index, **part)
            except ServiceError as problem:
                if problem.reason not in _OF_ONE_PHOTO:
                    raise
                yield pb.ApplyStyleResponse(photo_index=index, error=error_message(problem.details))
            index += 1

    async def RenderStyle(
        self, request: pb.RenderStyleRequest, context: Context
    ) -> AsyncIterator[pb.RenderStyleResponse]:
        """Draw one photo in a style."""
        caller = current_caller()
        asked, job_id, sent = read_rendering(request, self._output_limit(caller))
        application = await self._application(asked, caller, job_id)
        photo = await (self._photo(sent, caller) if sent else self._photo_of_job(job_id, caller))
        async for part in self._drawn(application, photo, caller, context):
            yield pb.RenderStyleResponse(**part)

    async def _fit(self, request: pb.CreateStyleRequest) -> Stylization:
        asked = read_fit(request, [] if request.fit.photos else await asyncio.to_thread(bundled_photos))
        request.Clear()
        caller = current_caller()
        create = partial(self._admission.admit, asked, caller, one_shot=False)
        try:
            job_id = await self._catalog.create_idempotent(asked, caller, create)
        except ServiceError as problem:
            raise _of_fit(problem) from problem
        return stylization_message(await self._catalog.describe(job_id, caller.scope), self._settings.retention_s)

    def _output_limit(self, caller: Caller) -> int:
        return caller.limits.output_limit(self._settings.max_output_size)

    async def _application(self, asked: ApplicationRequest, caller: Caller, job_id: str = "") -> Application:
        scope = caller.scope
        style = await (self._styles.kept_file(job_id, scope) if job_id else self._styles.file(asked.style, scope))
        second = await self._styles.file(asked.second, scope) if asked.second else None
        return Application(style, second, asked.controls, asked.result_format)

    async def _photo(self, asked: PhotoRequest, caller: Caller) -> Photo:
        if asked.upload:
            return await stored_photo(self._storage, asked.upload, "photo.upload", caller.scope)
        return Photo(asked.image, len(asked.image))

    async def _photo_of_job(self, job_id: str, caller: Caller) -> Photo:
        job = await self._catalog.describe(job_id, caller.scope)
        return await stored_photo(self._storage, job.record.content, "stylization")

    async def _drawn(
        self, application: Application, photo: Photo, caller: Caller, context: Context
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield metadata and bytes of the result as fields of a response."""
        remaining_s: float | None = context.time_remaining()
        async with self._lane.stylized(application, photo, caller, remaining_s) as image:
            yield {"metadata": metadata_message(image.metadata)}
            async for data in self._parts(image):
                yield {"data": data}

    async def _parts(self, image: ImageFile) -> AsyncIterator[bytes]:
        for offset in range(0, image.metadata.size_bytes, _PART_BYTES):
            yield await self._storage.read(_read, image, offset)


def _of_fit(problem: ServiceError) -> ServiceError:
    """Name the fields of a fit by their path in its request."""
    details = problem.details
    named = tuple(Violation(_path_in_fit(found.field), found.problem) for found in details.violations)
    return invalid(*named) if details.reason is Reason.INVALID_FIELD else problem


def _path_in_fit(field: str) -> str:
    if field in {"spec.image", "spec.upload"}:
        return f"fit.photos[0].{field.removeprefix('spec.')}"
    return f"fit.{field}" if field.startswith(("spec.", "photos")) else field


def _read(image: ImageFile, offset: int) -> bytes:
    with image.path.open("rb") as file:
        file.seek(offset)
        return file.read(_PART_BYTES)


def _photo_of(request: pb.ApplyStyleRequest) -> PhotoRequest:
    if not request.HasField("photo"):
        raise invalid(Violation("application", "must come in the first message only"))
    return read_style_photo(request.photo)
