"""Compares what a server promised about styles with what it has."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import numpy as np

from clipstyler.style import load_style
from clipstyler.v1 import style_service_pb2 as pb
from clipstyler.v1.options_pb2 import StylizationOptions
from clipstyler.v1.style_service_pb2_grpc import StyleServiceStub
from clipstyler.v1.stylization_pb2 import Stylization, StylizationSpec
from tests.service.harness import photo
from tests.service.process import ServerProcess
from tests.service.styles import style_file
from tests.service.test_styles import negative, pixels

_PATIENCE_S = 60.0
_DIGEST = 64  # characters in the name of a file
# What the client of gRPC reports itself if the connection is lost while it sends a message.
_LOST_WHILE_SENDING = "Internal error from Core"


class StyleAudit:
    """Styles that the server has, for certain or perhaps, and those that it must not have any more.

    What was asked for in a call that the server's death ended may have happened or not; everything else is certain.

    Parameters
    ----------
    data_dir
        Of the server.

    Attributes
    ----------
    kept
        Names of styles that are there.
    applied, uploaded, created, deleted, cut_short
        Calls that were answered, and those that were not.
    fits
        Names of the styles that jobs fit, by the request ids of the jobs: such a style is there if its job succeeded.
    """

    def __init__(self, data_dir: str) -> None:
        self.kept: list[str] = []
        self.applied = self.uploaded = self.created = self.deleted = self.cut_short = 0
        self.fits: dict[str, str] = {}
        self._perhaps: set[str] = set()
        self._gone: set[str] = set()
        self._whole: set[str] = set()
        self._data_dir = Path(data_dir)

    async def upload(self, server: ServerProcess, seed: int) -> None:
        """Upload a style that no other call has."""
        data = style_file("an uploaded look", seed)
        name = f"styles/{hashlib.sha256(data).hexdigest()}"
        self._perhaps.add(name)
        if await self._answered(_stub(server).UploadStyle(pb.UploadStyleRequest(data=data), timeout=_PATIENCE_S)):
            self._keep(name)
            self.uploaded += 1

    async def create(self, server: ServerProcess, job: str, name: str) -> None:
        """Make a style, whose name is known beforehand, of a finished job."""
        self._perhaps.add(name)
        asked = pb.CreateStyleRequest(stylization=job)
        if response := await self._answered(_stub(server).CreateStyle(asked, timeout=_PATIENCE_S)):
            assert response.style.name == name
            self._keep(name)
            self.created += 1

    async def fit(self, server: ServerProcess, seed: int) -> pb.CreateStyleRequest:
        """Create a job that fits a style; repeated until it is answered, it creates one."""
        text = "step=0.03 fitted"
        options = StylizationOptions(size=64, steps=4, patches=2, seed=seed)
        spec = StylizationSpec(style_text=text, options=options)
        photos = [pb.StylePhoto(image=photo(90 + seed % 50, 64)), pb.StylePhoto(image=photo(64, 64))]
        asked = pb.CreateStyleRequest(fit=pb.StyleFit(spec=spec, photos=photos), request_id=str(uuid.uuid4()))
        self.fits[asked.request_id] = f"styles/{hashlib.sha256(style_file(text, seed, photos=2)).hexdigest()}"
        await self._answered(_stub(server).CreateStyle(asked, timeout=_PATIENCE_S))
        return asked

    async def fit_again(self, server: ServerProcess, asked: pb.CreateStyleRequest) -> str:
        """Create such a job for certain; returns its name."""
        return (await _stub(server).CreateStyle(asked, timeout=_PATIENCE_S)).stylization.name

    async def holds(self, server: ServerProcess, jobs: Iterable[Stylization]) -> dict[str, int]:
        """Check everything, at the end, when all jobs are over; returns what was counted."""
        await self.check(server)
        fitted = {job.result.style for job in jobs if job.result.style}
        assert fitted <= set(self.fits.values())
        assert fitted == (set(self.kept) | self._gone) & set(self.fits.values())
        counted = ("created", "uploaded", "applied", "deleted", "cut_short")
        figures = {name.replace("_", " "): getattr(self, name) for name in counted}
        return figures | {"fitted": len(fitted), "kept": len(self.kept)}

    async def delete(self, server: ServerProcess, name: str) -> None:
        """Delete a style."""
        self.kept.remove(name)
        self._perhaps.add(name)
        asked = pb.DeleteStyleRequest(name=name)
        if await self._answered(_stub(server).DeleteStyle(asked, timeout=_PATIENCE_S)) is not None:
            self._perhaps.discard(name)
            self._gone.add(name)
            self.deleted += 1

    async def apply(self, server: ServerProcess, name: str, sides: list[int]) -> None:
        """Apply a style to photos of several sizes: what arrives is right, whether all of it does or not."""
        photos = [photo(side, side) for side in sides]
        parts: list[bytes] = []
        try:
            async for part in _stub(server).ApplyStyle(_asked(name, photos), timeout=_PATIENCE_S):
                assert part.WhichOneof("part") != "error", part
                if part.HasField("metadata"):
                    parts.append(b"")
                    announced = part.metadata
                parts[-1] += part.data
                if len(parts[-1]) == announced.size_bytes:
                    assert hashlib.sha256(parts[-1]).digest() == announced.sha256
                    assert np.array_equal(pixels(parts[-1]), negative(photos[part.photo_index]))
                    self.applied += 1
        except grpc.aio.AioRpcError as error:
            self._cut_short(error)

    async def check(self, server: ServerProcess) -> None:
        """Look at all styles: none is missing, none has come back, and each is the file that its name stands for."""
        there = set(await self._listed(server))
        assert set(self.kept) - there == set()
        assert there & self._gone == set()
        assert there - set(self.kept) <= self._perhaps | set(self.fits.values())
        for name in there - set(self.kept):  # what it did of calls that it did not answer
            self._keep(name)
        self._gone |= self._perhaps
        self._perhaps.clear()
        for name in there:
            await self._is_whole(server, name)
        self._no_file_is_half_written()

    def _keep(self, name: str) -> None:
        self._perhaps.discard(name)
        if name not in self.kept:
            self.kept.append(name)

    async def _answered(self, call):
        """Return the answer of a call; None if the server died under it."""
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            self._cut_short(error)
            return None

    def _cut_short(self, error: grpc.aio.AioRpcError) -> None:
        # CANCELLED: the server stopped while it drew a photo of the call.
        is_ended = error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        is_lost = is_ended or error.details() == _LOST_WHILE_SENDING
        if not is_lost:
            raise error
        self.cut_short += 1

    async def _listed(self, server: ServerProcess) -> list[str]:
        names, token = [], ""
        while True:
            page = await _stub(server).ListStyles(pb.ListStylesRequest(page_size=100, page_token=token))
            names += [style.name for style in page.styles if not style.bundled]
            token = page.next_page_token
            if not token:
                return names

    async def _is_whole(self, server: ServerProcess, name: str) -> None:
        asked = pb.DownloadStyleRequest(name=name)
        data = b"".join([part.data async for part in _stub(server).DownloadStyle(asked, timeout=_PATIENCE_S)])
        await asyncio.to_thread(load_style, data, name.rpartition("/")[2])

    def _no_file_is_half_written(self) -> None:
        """Look at each file once: what is complete is never written again."""
        for path in (self._data_dir / "images").rglob("*"):
            if len(path.name) == _DIGEST and path.name not in self._whole:
                with suppress(FileNotFoundError):  # deleted meanwhile
                    assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
                    self._whole.add(path.name)


def _asked(name: str, photos: list[bytes]) -> Iterator[pb.ApplyStyleRequest]:
    yield pb.ApplyStyleRequest(application=pb.StyleApplication(style=name))
    for data in photos:
        yield pb.ApplyStyleRequest(photo=pb.StylePhoto(image=data))


def _stub(server: ServerProcess) -> StyleServiceStub:
    return StyleServiceStub(server.channel)
