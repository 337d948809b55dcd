"""A client of file_server.py: it uploads a file, or downloads one by its name.

For example: file_client.py put photo.jpg, and then file_client.py get photo.jpg in another
directory. The progress bar is tqdm's where that is installed, and a line of numbers otherwise.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import framing
from framing.files import recv_file, send_file

TIMEOUT = 30.0  # seconds, for each wait: not for the whole file


def main() -> None:
    """Carry one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["put", "get"])
    parser.add_argument("file", help="a path to put, a name to get into the current directory")
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=9000, type=int)
    options = parser.parse_args()
    carry = put if options.command == "put" else get
    address = (options.host, options.port)
    try:
        with framing.connect(address, framing.HeaderBodyFramer(), timeout=TIMEOUT) as conn:
            carry(conn, options.file)
    except (OSError, ValueError, EOFError) as error:
        sys.exit(f"{options.host}:{options.port}: {error}")
    except KeyboardInterrupt:  # recv_file() has removed what there was of the file
        print("stopped", file=sys.stderr)
        sys.exit(130)


def put(conn: framing.MessageSocket[framing.HeaderMessage], path: str) -> None:
    """Upload a file."""
    with open(path, "rb") as file:
        conn.send(framing.HeaderMessage({"command": "put"}, b""))
        send_file(conn, file, progress=progress_bar())
        check(conn.recv())


def get(conn: framing.MessageSocket[framing.HeaderMessage], name: str) -> None:
    """Download a file."""
    conn.send(framing.HeaderMessage({"command": "get", "file": name}, b""))
    check(conn.recv())
    recv_file(conn, Path.cwd(), progress=progress_bar())


def check(answer: framing.HeaderMessage) -> None:
    """Leave with the server's reason if it refuses."""
    if answer.header.get("ok") is not True:
        sys.exit(f"the server refuses: {answer.header.get('reason')!r:.200}")


def progress_bar() -> Callable[[int, int], None]:
    """Return what shows how many bytes of how many have gone."""
    try:
        from tqdm import tqdm
    except ImportError:
        return show_numbers
    bar = tqdm(unit="B", unit_scale=True)

    def show_bar(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return show_bar


def show_numbers(done: int, total: int) -> None:
    """Write over the line that shows how many bytes have gone."""
    end = "\n" if done == total else ""
    print(f"\r{done:,} of {total:,} bytes", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
