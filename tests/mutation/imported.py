"""A plugin of pytest: one module of the package is imported as a mutant has it.

``MUTANT`` in the environment names the module and a file with its source.
"""

import os
import sys
from pathlib import Path

from .mutants import Finder

_module, _path = os.environ["MUTANT"].split("=", 1)
sys.meta_path.insert(0, Finder(_module, Path(_path).read_text("utf-8")))
