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
from .terminal import PACKAGE, PROGRAM, CommandError, is_terminal, note, show

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Returns:
        0 for success and 1 for a failure, with one line about it on standard error.  Wrong usage
        exits with 2, and Ctrl-C returns 130, as in a shell.
    """
    try:
        options = _parse(list(sys.argv[1:] if arguments is None else arguments))
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        options.run(options)
    except CommandError as failure:
        note(f"{PACKAGE}: {failure}")
        return 1
    except KeyboardInterrupt:
        if is_terminal(sys.stderr):
            note("")  # so that the prompt does not follow ^C
        return 130
    return 0


def _parse(given: list[str]) -> argparse.Namespace:
    end = given.index("--") if "--" in given and given[0] == "send" else len(given)
    options, rest = _parser().parse_known_args(given[:end])
    options.given = given
    takes_messages = "message" in options
    # Messages behind an option, as in `send ADDRESS --framer lines hello`, come in the rest.
    if any(map(_is_option, rest)) or (rest + given[end:] and not takes_messages):
        advice = " (write -- before messages that begin with -)" if takes_messages else ""
        options.parser.error(f"unrecognized arguments: {' '.join(rest + given[end:])}{advice}")
    if takes_messages:
        options.message = [*options.message, *rest, *given[end + 1 :]]
    if "framer" in options:
        _make_framer(options)
    return options


def _make_framer(options: argparse.Namespace) -> None:
    """Replace the text of ``options.framer`` by the framer that it names."""
    carries_files = options.run in (commands.send_files, commands.recv_files)
    try:
        limit = None if carries_files else options.max_size
        options.framer = notation.parse_framer(options.framer, limit)
    except (ValueError, TypeError) as error:
        options.parser.error(f"argument --framer: {error}")
    if carries_files and not isinstance(options.framer, HeaderBodyFramer):
        options.parser.error("argument --framer: files need header, or header:<I and the like")


def _is_option(text: str) -> bool:
    return text.startswith("-") and not text[1:2].isdecimal() and text != "-"


# What the arguments mean


def _address(text: str) -> str | tuple[str, int]:
    """Return a path, or the host and the port in ``HOST:PORT``, ``[HOST]:PORT`` or ``:PORT``."""
    if "/" in text and "://" not in text:
        return text
    host, colon, port = text.rpartition(":")
    is_ipv6 = host.startswith("[") and host.endswith("]")
    if is_ipv6:
        host = host[1:-1]
    elif re.fullmatch("[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%.*)?", host):
        raise argparse.ArgumentTypeError(f"write an IPv6 address as [{host}]:{port}")
    is_port = re.fullmatch("[0-9]{1,5}", port) and int(port) <= 65_535
    if not colon or not is_port or (":" in host and not is_ipv6):
        raise argparse.ArgumentTypeError(
            "expected HOST:PORT, such as 127.0.0.1:9000, with a port up to 65535,"
            f" or a path such as ./chat.sock, not {text}"
        )
    return host, int(port)


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

_FLAG = {"action": "store_true"}

_ARGUMENTS: dict[str, dict[str, Any]] = {
    "address": {"type": _address, "help": "HOST:PORT, [IPv6]:PORT or ./path/of/unix.sock"},
    "message": {
        "nargs": "*",
        "default": [],
        "help": "default: the lines of standard input; write -- before any that begin with -",
    },
    "file": {"nargs": "?", "help": "default: standard input"},
    "path": {"nargs": "+", "type": Path},
    "dir": {"type": Path},
    "--framer": {
        "default": "length",
        "help": f"the wire format: {notation.EXAMPLES} (default: length, and header for files)",
    },
    "--max-size": {"type": _size, "help": "the largest message or file: 65536, 64K, 10MB"},
    "--echo": {**_FLAG, "help": "send each message back"},
    "--escape": {**_FLAG, "help": r"messages contain \n, \x02 and other escapes"},
    "--hex": {**_FLAG, "help": "messages are hexadecimal"},
    "--reply": {**_FLAG, "help": "print one reply to each message"},
    "--timeout": {
        "type": _seconds,
        "default": 10.0,
        "help": "how many seconds to wait for a connection or a reply (default: 10)",
    },
    "--checksum": {**_FLAG, "help": "send SHA-256 digests as well"},
    "--overwrite": {**_FLAG, "help": "let the sender replace files in DIR"},
    "--name": {"help": "what to call the copy in DIR (default: DIR is the copy)"},
    "--minimal": {**_FLAG, "help": "only send_msg, recv_msg, MessageSocket and the formats"},
}

_COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], None], str]] = {
    "demo": (demo.demo, ""),
    "listen": (commands.listen, "address --framer --max-size --echo"),
    "send": (
        commands.send,
        "address message --framer --max-size --escape --hex --reply --timeout",
    ),
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
        for argument in arguments.split():
            options = _ARGUMENTS[argument]
            if "action" not in options:
                options = {**options, "metavar": argument.rpartition("-")[2].upper()}
            command.add_argument(argument, **options)
        command.set_defaults(run=run, parser=command)
        if name.endswith("-file"):
            command.set_defaults(framer="header")
    return parser
