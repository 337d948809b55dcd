"""What type checkers make of the package: ``tests/test_typing.py`` checks it, and nothing runs."""
