"""The command line: ``python -m framing``, also installed as ``framing``.

One module an idea: ``arguments`` says what can be typed, ``commands`` what each command does,
``notation`` how framers and messages are written as text, ``inspection`` what is in captured
bytes, ``vendor`` how the package is copied, ``terminal`` how things are printed, and ``demo``
shows the problem that the package solves.
"""

from .arguments import main

__all__ = ["main"]
