"""A Ray cluster on this machine: a head without places, and two nodes with two places each."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.service.conftest import _light_children, _warm_children, gate, log  # noqa: F401 - fixtures
from tests.service.process import ServerProcess, launching

ROOT = Path(__file__).parents[2]
CPUS_PER_NODE = 2
_STARTS = 5


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray", reason='Ray is not installed: pip install "clipstyler[ray]"')
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        # Actors import the scripted workload.
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        started = Cluster()
        add_node(started, num_cpus=0, include_dashboard=False)
        for _ in range(2):
            add_node(started, num_cpus=CPUS_PER_NODE)
        yield started
        ray.shutdown()
        started.shutdown()


def add_node(cluster: Any, **arguments: object) -> Any:
    """Add a node. Ray gives one 30 s to start, which a busy machine may need more than once."""
    for _ in range(_STARTS - 1):
        try:
            return cluster.add_node(**arguments)
        except Exception as error:
            if "timed out" not in str(error):
                raise
    return cluster.add_node(**arguments)


@pytest.fixture(scope="session")
def cluster_address(cluster: Any) -> str:
    return cluster.address


@pytest_asyncio.fixture(loop_scope="module")
async def launch(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[ServerProcess]]]:
    async with launching(tmp_path) as launch:
        yield launch
