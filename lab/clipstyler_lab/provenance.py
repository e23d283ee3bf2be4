"""What a report was made with: encoders, machine, versions, commit and the work of a stylization."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import torch

from clipstyler import __version__
from clipstyler.config import Calibration
from clipstyler.provenance import library_versions
from clipstyler_lab.workbench import Workbench


class Provenance(NamedTuple):
    """What a report was made with.

    Attributes
    ----------
    encoders
        Name of the set, and its models with the beginnings of their digests.
    calibration
        Of the encoders: every value by its name.
    machine
        Device, processor and threads.
    commit
        Of the checkout, with "+" if files differ from it; the version where there is no checkout.
    work
        Size, steps and patches of a stylization, and the seeds.
    versions
        Of the libraries.
    date
        UTC, ISO 8601.
    """

    encoders: str
    calibration: str
    machine: str
    commit: str
    work: str
    versions: str
    date: str


def provenance(bench: Workbench) -> Provenance:
    """Describe a run."""
    encoders, settings = bench.encoders, bench.settings
    models = ", ".join(f"{model.name} {model.digest[:12]}" for model in encoders.models)
    seeds, work = settings.seed_numbers, settings.work
    return Provenance(
        encoders=f"{encoders.name} ({models})",
        calibration=described(encoders.calibration),
        machine=machine(encoders.device),
        commit=commit(),
        work=f"{work.size} px, {work.steps} steps, {work.patches} patches, seeds {seeds[0]} to {seeds[-1]}",
        versions=", ".join(f"{name} {version}" for name, version in library_versions().items()),
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
    )


def described(calibration: Calibration) -> str:
    """Name every value of a calibration; two that are described alike give the same results."""
    return ", ".join(f"{name} {value}" for name, value in asdict(calibration).items())


def machine(device: torch.device) -> str:
    """Describe what computes."""
    threads = f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return f"{torch.cuda.get_device_name(device)}, {threads}" if device.type == "cuda" else threads


def processor() -> str:
    """Return the name of the processor, if the system reports it."""
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.is_file() else []
    return str(names[0]) if names else platform.processor() or platform.machine()


def commit() -> str:
    """Return the commit of the checkout that this file is in, or the installed version."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", here, *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        if git("ls-files", "--error-unmatch", __file__):
            return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        pass
    return f"version {__version__}"
