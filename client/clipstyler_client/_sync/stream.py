"""A stream of events that resumes after interruptions."""

from __future__ import annotations

from collections.abc import Iterator, Callable
from types import TracebackType
from typing import Self

import grpc

from clipstyler_client._sync.connection import pause
from clipstyler_client._codec import EventReader
from clipstyler_client._errors import (
    BrokenResultError,
    ServerUnavailableError,
    StylizationCancelledError,
    StylizeError,
    cancellation_named,
)
from clipstyler_client._events import Event, Result
from clipstyler_client._resume import Resume


class StylizationStream(Iterator[Event]):
    """Events of a stylization, its `Result` last.

    Closing a one-shot call early cancels the work; closing a watch changes nothing. Usable in a `with`
    statement, which closes it.
    """

    def __init__(self, resume: Resume, is_client_closed: Callable[[], bool]) -> None:
        self._resume = resume
        self._is_client_closed = is_client_closed
        self._ended = False
        self._result: Result | None = None
        self._failure: StylizeError | None = None
        self._begin()

    def _begin(self) -> None:
        if self._ended:
            raise StylizationCancelledError("CANCELLED", "the stream was closed")
        self._call, self._reader = self._resume.begin(), EventReader()
        self._messages = iter(self._call)
        if self._ended:  # another thread closed it meanwhile
            self._call.cancel()

    def __next__(self) -> Event:
        """Wait for the next event.

        Raises
        ------
        StylizeError
            The call failed, or the stylization failed or was cancelled.
        """
        if self._ended:
            raise StopIteration
        self._resume.listen()
        try:
            event = self._next()
        except StylizeError as error:
            self._ended, self._failure = True, error
            raise
        if isinstance(event, Result):
            self._ended, self._result = True, event
        return event

    def _next(self) -> Event:
        while True:
            try:
                with cancellation_named():
                    for response in self._messages:
                        event = self._reader.read(response.event)
                        if event is not None:
                            self._resume.received(event)
                            return event
            except (grpc.RpcError, ServerUnavailableError) as error:
                pause(self._resume.delay_after(error), self._is_closed)
                self._begin()
            else:
                raise self._end_without_result()

    def _is_closed(self) -> bool:
        return self._ended or self._is_client_closed()

    def _end_without_result(self) -> StylizeError:
        if self._call.cancelled():
            return StylizationCancelledError("CANCELLED", "the call ended when the wait for an event was cancelled")
        return BrokenResultError("DATA_LOSS", "the stream ended without a result; request it again", "BROKEN_RESULT")

    def result(self) -> Result:
        """Wait for the end and return the result, skipping the other events; may be called again.

        Raises
        ------
        StylizeError
            The call failed, or the stylization failed or was cancelled.
        """
        for _ in self:
            pass
        if self._failure:
            raise self._failure
        if self._result is None:
            raise BrokenResultError("DATA_LOSS", "the stream was closed before its result", "BROKEN_RESULT")
        return self._result

    def close(self) -> None:
        """End the call; the server stops a one-shot stylization within one step."""
        self._ended = True
        self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
