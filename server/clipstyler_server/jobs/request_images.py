"""The photo, the mask and further photos of a request: found, looked at, and decoded in processes of their own."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace

from clipstyler.imaging import ImageError
from clipstyler.masking import Levels
from clipstyler.options import ConfigError
from clipstyler.spec import StylizationSpec
from clipstyler_server.errors import Reason, ServiceError, Violation, invalid
from clipstyler_server.jobs.job_errors import invalid_spec, spec_violations
from clipstyler_server.jobs.job_request import JobRequest, PhotoRequest
from clipstyler_server.jobs.photos import Photo, stored_photo
from clipstyler_server.observability.traces import traced
from clipstyler_server.sharing import Caller
from clipstyler_server.storage.storage import Storage
from clipstyler_server.workers.decoder.client import Decoded, ImageDecoder


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

    async def find(self, request: JobRequest, caller: Caller) -> tuple[Photo, Photo | None]:
        """Find photo and mask; if neither is stored, the `ServiceError` names both."""
        try:
            photo = await self._found(request.photo, "spec.upload", caller)
        except ServiceError as error:
            others = await self._problems(self._mask(request, caller), "region.mask", caller)
            raise (
                invalid(*error.details.violations, *others) if error.reason is Reason.INVALID_FIELD else error
            ) from None
        return photo, await self._mask(request, caller)

    async def others(self, request: JobRequest, caller: Caller) -> list[Photo]:
        """Find the further photos of a fit; raises `ServiceError`."""
        asked = enumerate(request.others or (), 1)
        return [await self._found(other, f"photos[{number}].upload", caller) for number, other in asked]

    async def first_look(self, request: JobRequest, caller: Caller) -> tuple[Violation, ...]:
        """Return what is wrong with photo and mask at the first look, besides names of uploads that are none."""
        named = {violation.field for violation in request.violations}
        found: tuple[Violation, ...] = ()
        if "spec.upload" not in named:
            found += await self._problems(self._found(request.photo, "spec.upload", caller), "image", caller)
        if "spec.region.upload" not in named:
            found += await self._problems(self._mask(request, caller), "region.mask", caller)
        return found

    async def decode(self, photo: Photo, request: JobRequest | None, caller: Caller, spec: StylizationSpec) -> Decoded:
        """Decode a photo; if that fails, the mask of its request is looked at too, so that both are named."""
        try:
            with traced("decode", bytes=photo.size):
                return await self._decoder.decode(photo.source, caller.account, spec.config.size, spec.config.enlarge)
        except ImageError as error:
            others = await self._problems(self._mask(request, caller), "region.mask", caller) if request else ()
            raise invalid(*spec_violations((Violation("image", str(error)),)), *others) from error

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
            raise invalid_spec(Violation("region.mask", str(error))) from error
        return levels, replace(spec, region=replace(spec.region, mask_digest=digest))

    async def check_others(self, photos: list[Photo], caller: Caller, spec: StylizationSpec) -> None:
        """Raise `ServiceError` INVALID_FIELD for further photos that no style can be fitted to, naming each."""
        violations = []
        for number, photo in enumerate(photos, 1):
            try:
                picture = (await self.decode(photo, None, caller, spec)).picture
                spec.config.crop_side(picture.width, picture.height)
            except ConfigError as problem:
                violations.append(Violation(f"photos[{number}]", problem.problem))
            except ServiceError as problem:
                if problem.reason is not Reason.INVALID_FIELD:
                    raise
                violations += [Violation(f"photos[{number}]", found.problem) for found in problem.details.violations]
        if violations:
            raise invalid(*violations)

    async def _found(self, asked: PhotoRequest, field: str, caller: Caller) -> Photo:
        if asked.upload:
            return await stored_photo(self._storage, asked.upload, field, caller.scope)
        return Photo(asked.image, len(asked.image))

    async def _mask(self, request: JobRequest, caller: Caller) -> Photo | None:
        return await self._found(request.mask, "spec.region.upload", caller) if request.mask else None

    async def _problems(self, finding: Awaitable[Photo | None], field: str, caller: Caller) -> tuple[Violation, ...]:
        try:
            if image := await finding:
                await self._decoder.inspect(image.source, caller.account)
        except ImageError as error:
            return spec_violations((Violation(field, str(error)),))
        except ServiceError as error:
            return error.details.violations
        return ()
