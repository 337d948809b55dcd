"""``python -m framing``."""

import sys

try:
    from .cli import main

    sys.exit(main())
except KeyboardInterrupt:  # during the imports
    sys.exit(130)
