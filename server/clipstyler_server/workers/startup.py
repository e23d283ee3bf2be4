"""Why a worker cannot start or work: for now, so that another try makes sense, or for good."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

from clipstyler_server.workers.messages import CannotStart

# What the system lacks now and may have in a moment: descriptors, memory, processes, space.
_TRANSIENT = frozenset({
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EAGAIN,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EBUSY,
    errno.EINTR,
})  # fmt: skip
_ERRNO_IN_TEXT = re.compile(r"(?:\[Errno |\(os error )(\d+)[\])]")


def cannot_start(problem: Exception) -> CannotStart:
    """Return the message of a worker that cannot start because of an error."""
    return CannotStart(str(problem), is_transient(problem))


def is_transient(problem: BaseException) -> bool:
    """Return whether an error, or what caused it, is a lack of something that the system may have in a moment.

    An error of another program is known by its text only.
    """
    return any(_numbers(error) & _TRANSIENT for error in _causes(problem))


def _numbers(error: BaseException) -> set[int]:
    own = {error.errno} if isinstance(error, OSError) and error.errno else set()
    return own | {int(number) for number in _ERRNO_IN_TEXT.findall(str(error))}


def _causes(problem: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what led to it."""
    while problem:
        yield problem
        problem = problem.__cause__ or (None if problem.__suppress_context__ else problem.__context__)
