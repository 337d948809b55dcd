"""Fixtures, and the Hypothesis profiles: HYPOTHESIS_PROFILE=thorough chooses another.

The contract's properties run on every format each, so a property is tried that many times more.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings

from .pairs import Pair, tcp_pair, tls_pair, unix_pair, wrapped_pair

settings.register_profile(
    "default",
    max_examples=5,  # test_exhaustive tries all short streams
    deadline=None,  # examples differ in size, and test machines in speed
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.register_profile("quick", settings.get_profile("default"), max_examples=3)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=40)
settings.register_profile(  # for tests.mutation: to fail fast is enough
    "mutation",
    settings.get_profile("default"),
    database=None,
    phases=[Phase.explicit, Phase.generate],
)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")
settings.load_profile(PROFILE)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Use a process more than there are processors, since many tests wait."""
    return (os.cpu_count() or 1) + 1


def pytest_configure(config: pytest.Config) -> None:
    """Leave nothing out of the thorough profile, and expect no reference counts of PyPy."""
    if sys.implementation.name == "pypy":  # objects go later, often in another test
        config.addinivalue_line("filterwarnings", "ignore::ResourceWarning")
        config.addinivalue_line("filterwarnings", "ignore::pytest.PytestUnraisableExceptionWarning")
    if PROFILE == "thorough" and config.option.markexpr == "not slow":
        config.option.markexpr = ""


@pytest.fixture(params=[tcp_pair, unix_pair, wrapped_pair, tls_pair])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    client, server = request.param()
    with client, server:
        yield client, server


@pytest.fixture
def plain_pair() -> Iterator[Pair]:
    client, server = tcp_pair()
    with client, server:
        yield client, server


@pytest.fixture
def without_collection() -> Iterator[None]:
    """Collect no garbage, since what a signal handler raises in a callback of it is lost."""
    gc.disable()
    yield
    gc.enable()
