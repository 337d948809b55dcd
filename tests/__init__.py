"""The tests of framing: of this package, and of whatever the environment puts in its place.

    TESTED_PACKAGE=acme.wire    a copy of the package under another name, which ``import framing``
                                gives to every test then
    WITHOUT=MSG_DONTWAIT        a system that lacks one feature, or several with commas between

This runs before any test module, so that all of them, and the package, see the same.
"""

import os

from . import conditions

conditions.stand_in_for_tracemalloc()
conditions.set_up(
    package=os.environ.get("TESTED_PACKAGE", "framing"),
    without=os.environ.get("WITHOUT", "").replace(",", " ").split(),
)
