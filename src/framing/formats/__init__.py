"""The built-in wire formats, one module each."""
