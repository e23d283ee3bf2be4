"""Output files: all of them checked before any work, and written so that a file is complete or unchanged."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from clipstyler.options import ConfigError, Violation


class Output(NamedTuple):
    """A file that will be written.

    Attributes
    ----------
    field
        The option that names it, for errors.
    path
        Where it will be written; a symbolic link is followed.
    suffixes
        Accepted suffixes in lower case; none accepts all.
    """

    field: str
    path: Path
    suffixes: Collection[str] = ()


def check_outputs(
    files: Sequence[Output], *, directories: Sequence[Output] = (), inputs: Iterable[str | Path] = ()
) -> None:
    """Check that everything can be written, by creating it for a moment.

    Files are compared as the file system sees them: links and names that differ only in case may be the same file.

    Parameters
    ----------
    files
        Regular files, new or to be replaced.
    directories
        Directories, existing or to be created with their parents; files may be in them.
    inputs
        Files that are read, and must not be overwritten.

    Raises
    ------
    ConfigError
        Outputs that cannot be written, are the same file, or are an input: all in one error.
    """
    violations: list[Violation] = []
    unusable: set[Path] = set()
    holders = {found: "is an input too" for path in inputs if (found := _identity(path))}
    with ExitStack() as created:
        for output, reserve in [(d, _reserve_directory) for d in directories] + [(f, _reserve_file) for f in files]:
            if output.path.parent in unusable:  # which is reported
                continue
            try:
                reserve(output, created)
                found = _identity(output.path)
            except ConfigError as error:
                violations += error.violations
                unusable.add(output.path)
                continue
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                violations.append(Violation(output.field, f"{str(output.path)!r} cannot be written: {reason}"))
                unusable.add(output.path)
                continue
            if found in holders:
                violations.append(
                    Violation(output.field, f"{str(output.path)!r} {holders[found]}: choose another name")
                )
            elif found:
                holders[found] = "is another output too"
    if violations:
        raise ConfigError.of(violations)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it appears complete or not at all.

    A symbolic link is followed; the permissions of an existing file are kept.

    Raises
    ------
    OSError
        It cannot be written there; an existing file is unchanged.
    """
    with part_of(path) as part:
        part.write_bytes(data)


@contextmanager
def part_of(path: Path) -> Iterator[Path]:
    """Give the place of a new file, which in the end replaces another one as `write_whole` does.

    Raises
    ------
    OSError
        It cannot be written there; an existing file is unchanged.
    """
    if path.exists() and not path.is_file():
        raise FileExistsError(0, "is not a regular file", str(path))
    target = Path(os.path.realpath(path))
    part = target.with_name(f".clipstyler-{secrets.token_hex(8)}.part")
    try:
        yield part
        with suppress(FileNotFoundError):
            part.chmod(target.stat().st_mode & 0o7777)
        part.replace(target)
    finally:
        with suppress(OSError):
            part.unlink()


def _reserve_file(output: Output, created: ExitStack) -> None:
    field, path, suffixes = output
    if suffixes and path.suffix.lower() not in suffixes:
        raise ConfigError(field, f"{path.name!r} must end in one of {', '.join(suffixes)}")
    target = _target(output)
    if path.is_dir():
        raise ConfigError(field, f"{str(path)!r} is a directory: name a file")
    if not target.parent.is_dir():
        raise ConfigError(
            field,
            f"the directory {target.parent if path.is_symlink() else path.parent} does not exist; create it first",
        )
    if path.exists() and not path.is_file():
        raise ConfigError(field, f"{str(path)!r} is a special file: name a regular file")
    if target.is_symlink():
        raise ConfigError(field, f"{str(path)!r} is a loop of symbolic links: name a file")
    new = not path.exists()
    os.close(os.open(target, os.O_WRONLY | (os.O_CREAT | os.O_EXCL if new else 0)))
    if new:
        created.callback(target.unlink, missing_ok=True)
    _write_in(target.parent)


def _reserve_directory(output: Output, created: ExitStack) -> None:
    target = _target(output)
    if target.exists() and not target.is_dir():
        raise ConfigError(output.field, f"{output.path} is a file; name a directory")
    for missing in reversed([path for path in (target, *target.parents) if not path.exists()]):
        missing.mkdir()
        created.callback(_remove_empty, missing)
    _write_in(target)


def _target(output: Output) -> Path:
    try:
        return Path(os.path.realpath(output.path))
    except FileNotFoundError as error:
        raise ConfigError(output.field, "the working directory no longer exists: name an absolute path") from error


def _write_in(directory: Path) -> None:
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(b"\0")


def _remove_empty(directory: Path) -> None:
    with suppress(OSError):
        directory.rmdir()


def _identity(path: str | Path) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino
