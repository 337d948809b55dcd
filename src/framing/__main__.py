"""``python -m framing``."""

import sys

try:
    from .cli import main

    sys.exit(main())
except KeyboardInterrupt:  # while the modules are loaded
    sys.exit(130)
