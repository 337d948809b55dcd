"""Hypothesis profiles: HYPOTHESIS_PROFILE chooses another than the default.

The contract's properties run on 28 framers each, so a property is tried that many times more.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "default",
    max_examples=15,
    deadline=None,  # examples differ in size, and test machines in speed
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.register_profile("quick", settings.get_profile("default"), max_examples=5)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=80)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
