"""The command line: ``python -m framing``, installed as ``framing`` as well."""

from __future__ import annotations

import argparse
import io
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import __version__, commands
from .demo import run as run_demo
from .header_body import HeaderBodyFramer
from .notation import FRAMERS, parse_framer
from .terminal import CommandError, note, show

if TYPE_CHECKING:
    from collections.abc import Sequence

_DESCRIPTION = "Whole messages over TCP: send them, receive them, find them in captured bytes."

_EXAMPLES = r"""
examples:
  framing demo
  framing listen 127.0.0.1:9000 --echo
  framing send 127.0.0.1:9000 hello "how are you?" --reply
  framing send 127.0.0.1:9000 --framer 'delimiter:\r\n' < messages.txt
  framing listen '[::1]:9000' --framer 'struct:!H8sb'
  framing inspect capture.bin
  framing recv-file :9000 downloads
  framing send-file photo.jpg video.mp4 192.168.1.7:9000 --checksum

COMMAND --help tells more of each.
"""

_LISTEN_EXAMPLES = """
examples:
  framing listen 127.0.0.1:9000 --echo
  framing listen 127.0.0.1:0               (any free port, which is printed)
  framing listen :9000 --framer lines      (on every network interface)
"""

_SEND_EXAMPLES = r"""
examples:
  framing send 127.0.0.1:9000 hello "how are you?" --reply
  framing send 127.0.0.1:9000 < messages.txt
  framing send 127.0.0.1:9000 --framer header '{"id": 7} the body'
  framing send 127.0.0.1:9000 --framer 'struct:!H8sb' 7,alice,-1
  framing send 127.0.0.1:9000 -- --a-message-with-dashes
"""

_INSPECT_EXAMPLES = r"""
examples:
  framing inspect capture.bin
  nc -l 9000 | framing inspect --framer lines
  framing inspect --framer 'length:<H' < capture.bin | head

The capture is what one side sent, without anything of the network's.  Sizes and offsets are in
bytes, of the whole message on the wire.  The exit status is 1 if the format is broken.
"""

_RECV_EXAMPLES = """
examples:
  framing recv-file 127.0.0.1:9000 downloads
  framing recv-file :9000 . --overwrite --max-size 1000000000

It receives the files of one sender, prints where each is, and ends.
"""

_SEND_FILE_EXAMPLES = """
examples:
  framing send-file photo.jpg 127.0.0.1:9000
  framing send-file *.jpg 192.168.1.7:9000 --checksum

It ends when the receiver has everything.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit status.

    Returns:
        0 for success, 1 for a failure told in one line on standard error.  Wrong usage exits
        with 2, and an interrupt (Ctrl-C) with 130, as shells have it.
    """
    try:
        options = _parse(arguments)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        options.run(options)
    except CommandError as failure:
        note(f"framing: {failure}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    given = list(sys.argv[1:] if arguments is None else arguments)
    end = given.index("--") if "--" in given and given[0] == "send" else len(given)
    options, rest = parser.parse_known_args(given[:end])
    takes_messages = "messages" in options
    # Messages behind an option, as in `send ADDRESS --framer lines hello`, come in the rest.
    if any(map(_is_option, rest)) or (rest + given[end:] and not takes_messages):
        advice = " (write -- before messages that begin with -)" if takes_messages else ""
        parser.error(f"unrecognized arguments: {' '.join(rest + given[end:])}{advice}")
    if takes_messages:
        options.messages += rest + given[end + 1 :]
    if "framer" in options:
        _make_framer(parser, options)
    return options


def _is_option(text: str) -> bool:
    return text.startswith("-") and not text[1:2].isdecimal() and text != "-"


def _make_framer(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Put the framer into the options that their text and their limit name."""
    carries_files = "is_for_files" in options
    try:
        limit = None if carries_files else options.max_size
        options.framer = parse_framer(options.framer, limit)
    except ValueError as error:
        parser.error(f"argument --framer: {error}")
    if carries_files and not isinstance(options.framer, HeaderBodyFramer):
        parser.error("argument --framer: files go as header, or header:<I and the like")


# What may be given


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="framing",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"framing {__version__}")
    added = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, help: str, examples: str = "") -> argparse.ArgumentParser:
        return added.add_parser(
            name,
            help=help,
            description=f"{help[0].upper()}{help[1:]}.",
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    demo = add("demo", "show the problem and its cure, on this machine")
    demo.set_defaults(run=lambda _: run_demo(show))

    listen = add("listen", "print each message that arrives, from any client", _LISTEN_EXAMPLES)
    _add_address(listen)
    _add_framer(listen)
    listen.add_argument("--echo", action="store_true", help="send each message back")
    listen.set_defaults(run=commands.listen)

    send = add("send", "send messages", _SEND_EXAMPLES)
    _add_address(send)
    _add_framer(send)
    send.add_argument(
        "messages",
        nargs="*",
        metavar="MESSAGE",
        help="default: the lines of standard input; -- before any that begin with -",
    )
    send.add_argument("--reply", action="store_true", help="print one answer to each message")
    send.set_defaults(run=commands.send)

    inspect = add(
        "inspect", "find the messages in captured bytes, and where they break", _INSPECT_EXAMPLES
    )
    inspect.add_argument("file", nargs="?", metavar="FILE", help="default: standard input")
    _add_framer(inspect)
    inspect.set_defaults(run=commands.inspect_file)

    send_file = add("send-file", "send files", _SEND_FILE_EXAMPLES)
    send_file.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    _add_address(send_file)
    _add_framer_for_files(send_file)
    send_file.add_argument(
        "--checksum", action="store_true", help="tell the SHA-256 digest of each"
    )
    send_file.set_defaults(run=commands.send_files)

    recv_file = add("recv-file", "receive files from one sender", _RECV_EXAMPLES)
    _add_address(recv_file)
    recv_file.add_argument("directory", type=Path, metavar="DIR")
    _add_framer_for_files(recv_file)
    _add_size(recv_file, "the largest file to take, in bytes (default: any)")
    recv_file.add_argument("--overwrite", action="store_true", help="replace files of that name")
    recv_file.set_defaults(run=commands.recv_files)
    return parser


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", type=_address, metavar="ADDRESS", help="HOST:PORT, [IPv6]:PORT")


def _add_framer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--framer", default="length", help=f"the wire format: {FRAMERS} (default: length)"
    )
    _add_size(parser, "the largest message, in bytes (default: the format's own)")


def _add_framer_for_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--framer", default="header", help="the wire format: header, header:<I (default: header)"
    )
    parser.set_defaults(is_for_files=True)


def _add_size(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--max-size", type=_size, metavar="BYTES", help=help)


def _address(text: str) -> tuple[str, int]:
    """Return the host and the port in ``HOST:PORT``, ``[HOST]:PORT`` or ``:PORT``."""
    host, colon, port = text.rpartition(":")
    is_ipv6 = host.startswith("[") and host.endswith("]")
    if is_ipv6:
        host = host[1:-1]
    elif re.fullmatch("[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%.*)?", host):
        raise argparse.ArgumentTypeError(f"write an IPv6 address as [{host}]:{port}")
    is_port = re.fullmatch("[0-9]{1,5}", port) and int(port) <= 65_535
    if not colon or not is_port or (":" in host and not is_ipv6):
        raise argparse.ArgumentTypeError(
            f"expected HOST:PORT, such as 127.0.0.1:9000, with a port up to 65535, not {text}"
        )
    return host, int(port)


def _size(text: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"expected a number of bytes, not {text}")
    return int(text)
