r"""What can be typed on the command line, and ``main``, which runs it.

The help of each command is the docstring of its function: the first line says what it does, and
the rest gives examples.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..formats.header_body import HeaderBodyFramer
from . import commands, demo, notation, vendor
from .terminal import PACKAGE, PROGRAM, CommandError, is_terminal, note, reason, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..framer import Framer


def main() -> int:
    """Run the command line and return its exit status.

    Returns:
        0 for success and 1 for a failure, with one line about it on standard error.  Wrong usage
        exits with 2, and Ctrl-C returns 130, as in a shell.
    """
    try:
        options = _parse(sys.argv[1:])
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        options.run(options)
    except (CommandError, OSError) as failure:
        note(f"{PACKAGE}: {reason(failure)}")
        return 1
    except KeyboardInterrupt:
        if is_terminal(sys.stderr):
            note("")  # so that the prompt does not follow ^C
        return 130
    return 0


def _parse(given: list[str]) -> argparse.Namespace:
    takes_messages = given[:1] == ["send"]
    end = given.index("--") if takes_messages and "--" in given else len(given)
    options, rest = _parser().parse_known_args(given[:end])
    if takes_messages and not any(re.match(r"-\D", text) for text in rest):
        # Messages behind an option, as in `send ADDRESS --framer lines hello`, come in the rest.
        options.message, rest = [*options.message, *rest, *given[end + 1 :]], []
    if rest:
        advice = " (write -- before messages that begin with -)" if takes_messages else ""
        options.parser.error(f"unrecognized arguments: {' '.join(rest)}{advice}")
    if "framer" in options:
        options.framer = _framer(options)
    return options


def _framer(options: argparse.Namespace) -> Framer[Any]:
    carries_files = options.run in (commands.send_files, commands.recv_files)
    text = options.framer or ("header" if carries_files else "length")
    parser: argparse.ArgumentParser = options.parser
    try:
        framer = notation.parse_framer(text, None if carries_files else options.max_size)
        if carries_files and not isinstance(framer, HeaderBodyFramer):
            raise ValueError("files need header, or header:<I and the like")
    except (ValueError, TypeError) as error:
        parser.error(f"argument --framer: {error}")
    return framer


# What the arguments mean


def _address(text: str) -> str | tuple[str, int]:
    """Return a path, or the host and the port in ``HOST:PORT``, ``[HOST]:PORT`` or ``:PORT``."""
    if "/" in text and "://" not in text:
        return text
    found = re.fullmatch(r"(?:\[(.+)]|([^:]*)):([0-9]{1,5})", text)
    if found and int(found[3]) <= 65_535:
        return found[1] or found[2], int(found[3])
    host, _, port = text.rpartition(":")
    if re.fullmatch("[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%.*)?", host):
        raise argparse.ArgumentTypeError(f"write an IPv6 address as [{host}]:{port}")
    raise argparse.ArgumentTypeError(
        "expected HOST:PORT, such as 127.0.0.1:9000, with a port up to 65535,"
        f" or a path such as ./chat.sock, not {text}"
    )


def _size(text: str) -> int:
    """Return a number of bytes: 1K and 1KiB are 1024, and 1KB is 1000, as for other tools."""
    found = re.fullmatch("([0-9]{1,18})(?:([KMGT])(B|iB)?)?", text, re.IGNORECASE)
    if not found:
        raise argparse.ArgumentTypeError(f"expected a size such as 65536, 64K or 10MB, not {text}")
    number, unit, kind = found.groups(default="")
    step = 1000 if kind.upper() == "B" else 1024
    size: int = int(number) * step ** " KMGT".index(unit.upper() or " ")
    return size


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]+)?", text) or not float(text):
        raise argparse.ArgumentTypeError(f"expected a number of seconds, not {text}")
    return float(text)


# The commands, and what each one takes

_ARGUMENTS: dict[str, dict[str, Any]] = {
    "address": {"type": _address, "help": "HOST:PORT, [IPv6]:PORT or ./path/of/unix.sock"},
    "message": {"nargs": "*", "default": [], "help": "default: the lines of standard input"},
    "file": {"nargs": "?", "default": "-", "help": "default: standard input"},
    "path": {"nargs": "+", "type": Path},
    "dir": {"type": Path},
    "--framer": {"help": f"the format: {notation.EXAMPLES} (default: length; header for files)"},
    "--max-size": {"type": _size, "help": "the largest message or file: 65536, 64K, 10MB"},
    "--timeout": {"type": _seconds, "default": 10.0, "help": "seconds to wait (default: 10)"},
    "--name": {"help": "what to call the copy in DIR (default: DIR is the copy)"},
}
_FLAGS = {
    "--echo": "send each message back",
    "--escape": r"messages contain \n, \x02 and other escapes",
    "--hex": "messages are hexadecimal",
    "--reply": "print one reply to each message",
    "--checksum": "send SHA-256 digests as well",
    "--overwrite": "let the sender replace files in DIR",
    "--minimal": "only send_msg, recv_msg, MessageSocket and the formats",
}
_SEND = "address message --framer --max-size --escape --hex --reply --timeout"
_COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], None], str]] = {
    "demo": (demo.demo, ""),
    "listen": (commands.listen, "address --framer --max-size --echo"),
    "send": (commands.send, _SEND),
    "inspect": (commands.inspect_file, "file --framer --max-size"),
    "send-file": (commands.send_files, "path address --framer --checksum --timeout"),
    "recv-file": (commands.recv_files, "address dir --framer --max-size --overwrite"),
    "vendor": (vendor.vendor, "dir --name --minimal"),
}


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Send and receive whole messages over TCP, and find them in captured bytes.",
        epilog=f"Start with: {PROGRAM} demo.  {PROGRAM} COMMAND --help shows examples.",
    )
    parser.add_argument("--version", action="version", version=f"{PACKAGE} {__version__}")
    parser.set_defaults(run=lambda _: show(parser.format_help().rstrip()), parser=parser)
    added = parser.add_subparsers(metavar="COMMAND")
    for name, (run, arguments) in _COMMANDS.items():
        title, _, rest = cleandoc(run.__doc__ or name).partition("\n\n")
        examples = rest.replace("framing ", f"{PROGRAM} ")
        command = added.add_parser(
            name, help=title, description=title, epilog=examples, formatter_class=raw
        )
        command.set_defaults(run=run, parser=command)
        for argument in arguments.split():
            if argument in _FLAGS:
                command.add_argument(argument, action="store_true", help=_FLAGS[argument])
            else:
                metavar = argument.rpartition("-")[2].upper()
                command.add_argument(argument, metavar=metavar, **_ARGUMENTS[argument])
    return parser
