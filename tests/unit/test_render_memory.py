"""The memory of a result that is drawn in tiles, of a process that does nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest

from clipstyler.tiling import HALO

PIXEL_BYTES = 16  # of the photo, its levels and its result
MAP_BYTES = 4 * 16  # of a pixel in the network's first map, the largest kind
SIDE, TILE_SIDE = 1304, 256
# A tile needs eight such maps at once; measured are 18. With tiles of several sizes it was 41.
MOST_MAPS = 26

MEASURE = f"""
import numpy as np, torch
from benchmarks.render import peak_bytes
from clipstyler.allocator import return_unused_memory
from clipstyler.imaging import Picture
from clipstyler.render import fix_style, render
from clipstyler.stylenet import Arithmetic, StyleNet

torch.set_num_threads(2)
net = StyleNet.initialize(torch.Generator().manual_seed(0), arithmetic=Arithmetic(channels_last=True), mirrored=True)
options = dict(input_noise=0.05, noise_octaves=6, contrast=1.5, seed=1)
style = fix_style(net, torch.rand(1, 3, 232, 232), (232, 232), **options)
photo = Picture(np.random.default_rng(0).integers(0, 256, ({SIDE}, {SIDE}, 3), dtype=np.uint8))
return_unused_memory()
with peak_bytes() as peak:
    list(render(style, photo, {TILE_SIDE}))
print(peak())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, which tells the peak")
def test_a_result_takes_the_memory_of_its_pixels_and_of_one_tile() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, timeout=120, check=True)
    most = PIXEL_BYTES * SIDE**2 + MOST_MAPS * MAP_BYTES * (TILE_SIDE + 2 * HALO) ** 2
    assert int(done.stdout) < most
