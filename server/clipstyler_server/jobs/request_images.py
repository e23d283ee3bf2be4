"""The photo, the mask and further photos of a request: found, looked at, and decoded in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from clipstyler.imaging import ImageError
from clipstyler.masking import Levels
from clipstyler.options import ConfigError
from clipstyler.spec import StylizationSpec
from clipstyler_server.errors import Reason, ServiceError, Violation, invalid
from clipstyler_server.jobs.job_request import JobRequest, PhotoRequest
from clipstyler_server.jobs.photos import Photo, stored_photo
from clipstyler_server.observability.traces import traced
from clipstyler_server.sharing import Caller
from clipstyler_server.storage.storage import Storage
from clipstyler_server.workers.decoder.client import Decoded, ImageDecoder

_PHOTO, _MASK = "spec.image", "spec.region.mask"


class RequestImages:
    """Finds and decodes the images of requests.

    Parameters
    ----------
    storage
        Has those that were uploaded.
    decoder
        Decodes them.
    """

    def __init__(self, storage: Storage, decoder: ImageDecoder) -> None:
        self._storage = storage
        self._decoder = decoder

    async def find(self, request: JobRequest, caller: Caller) -> tuple[Photo, Photo | None, list[Photo]]:
        """Find photo, mask and further photos; if one is not stored, the `ServiceError` names all that are bad."""
        try:
            photo = await self._found(request.photo, "spec.upload", caller)
            mask = await self._found(request.mask, "spec.region.upload", caller) if request.mask else None
            others = [
                await self._found(other, f"photos[{number}].upload", caller)
                for number, other in enumerate(request.others or (), 1)
            ]
        except ServiceError as error:
            if error.reason is not Reason.INVALID_FIELD:
                raise
            raise invalid(*await self.first_look(request, caller)) from None
        return photo, mask, others

    async def first_look(self, request: JobRequest, caller: Caller, besides: str = "") -> tuple[Violation, ...]:
        """Return what is wrong with the images at the first look, besides those that were refused when they were read.

        `besides` is the field of an image that is known to be bad.
        """
        refused = {violation.field.removesuffix(".upload") for violation in request.violations}
        found: tuple[Violation, ...] = ()
        for image in _images(request):
            if image.field != besides and not refused & image.names:
                found += await self._problems(image, caller)
        return found

    async def decode(self, photo: Photo, request: JobRequest | None, caller: Caller, spec: StylizationSpec) -> Decoded:
        """Decode a photo; if that fails, all images of its request are looked at, so that the bad ones are named."""
        try:
            with traced("decode", bytes=photo.size):
                return await self._decoder.decode(photo.source, caller.account, spec.config.size, spec.config.enlarge)
        except ImageError as error:
            field = photo.field or _PHOTO
            others = await self.first_look(request, caller, besides=field) if request else ()
            raise invalid(Violation(field, str(error)), *others) from error

    async def decode_mask(
        self, mask: Photo | None, caller: Caller, spec: StylizationSpec, decoded: Decoded
    ) -> tuple[Levels | None, StylizationSpec]:
        """Decode a mask at the size of the decoded photo, and note its digest in the spec."""
        if mask is None or spec.region is None:
            return None, spec
        header, picture = decoded.header, decoded.picture
        try:
            with traced("decode", bytes=mask.size):
                levels, digest = await self._decoder.read_mask(
                    mask.source, caller.account, (header.width, header.height), (picture.width, picture.height)
                )
        except ImageError as error:
            raise invalid(Violation(mask.field or _MASK, str(error))) from error
        return levels, replace(spec, region=replace(spec.region, mask_digest=digest))

    async def check_others(self, photos: list[Photo], caller: Caller, spec: StylizationSpec) -> None:
        """Raise `ServiceError` INVALID_FIELD for further photos that no style can be fitted to, naming each."""
        violations = []
        for number, photo in enumerate(photos, 1):
            field = f"photos[{number}]"
            try:
                picture = (await self.decode(photo, None, caller, spec)).picture
                spec.config.crop_side(picture.width, picture.height)
            except ConfigError as problem:
                violations.append(Violation(field, problem.problem))
            except ServiceError as problem:
                if problem.reason is not Reason.INVALID_FIELD:
                    raise
                violations += [Violation(field, found.problem) for found in problem.details.violations]
        if violations:
            raise invalid(*violations)

    async def _found(self, asked: PhotoRequest, field: str, caller: Caller) -> Photo:
        if asked.upload:
            return await stored_photo(self._storage, asked.upload, field, caller.scope)
        return Photo(asked.image, len(asked.image))

    async def _problems(self, image: _Image, caller: Caller) -> tuple[Violation, ...]:
        try:
            found = await self._found(image.asked, image.upload_field, caller)
            await self._decoder.inspect(found.source, caller.account)
        except ImageError as error:
            return (Violation(image.field, str(error)),)
        except ServiceError as error:
            return error.details.violations
        return ()


class _Image(NamedTuple):
    """An image of a request, by its paths in the contract.

    Attributes
    ----------
    field, upload_field
        What names it if it cannot be read, and if it is not stored.
    names
        By which it may have been refused already, without "upload".
    asked
        The image.
    """

    field: str
    upload_field: str
    names: set[str]
    asked: PhotoRequest


def _images(request: JobRequest) -> Iterator[_Image]:
    yield _Image(_sent_in(request.photo, _PHOTO, "spec.upload"), "spec.upload", {"spec", "photos[0]"}, request.photo)
    if request.mask:
        field = _sent_in(request.mask, _MASK, "spec.region.upload")
        yield _Image(field, "spec.region.upload", {"spec.region"}, request.mask)
    for number, other in enumerate(request.others or (), 1):
        field = f"photos[{number}]"
        yield _Image(field, f"{field}.upload", {field}, other)


def _sent_in(asked: PhotoRequest, image_field: str, upload_field: str) -> str:
    return upload_field if asked.upload else image_field
