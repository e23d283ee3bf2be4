"""Asks the NVIDIA driver about its GPUs, without PyTorch: whether there is one, and its name."""

from __future__ import annotations

import ctypes
import sys

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_NAME_BYTES = 256


class NoGpuError(RuntimeError):
    """There is no such GPU; the message names what is missing."""


def name(device: int) -> str:
    """Name of a GPU, such as "NVIDIA H200".

    Raises
    ------
    NoGpuError
        There is no driver, or it has no such device.
    """
    try:
        driver = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise NoGpuError(f"there is no NVIDIA driver here ({_LIBRARY} is missing)") from error
    status, count = driver.cuInit(0), ctypes.c_int()
    if status != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        raise NoGpuError(f"the NVIDIA driver finds no GPU (cuInit returned {status})")
    if device >= count.value:
        raise NoGpuError(f"there is no GPU number {device}: the driver knows {count.value}")
    handle, text = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES)
    if driver.cuDeviceGet(ctypes.byref(handle), device) or driver.cuDeviceGetName(text, _NAME_BYTES, handle):
        raise NoGpuError(f"the NVIDIA driver does not answer for GPU number {device}")
    return text.value.decode()
