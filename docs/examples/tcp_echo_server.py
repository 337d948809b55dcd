"""A TCP echo server: it answers in upper case, and serves many clients at the same time.

Start it, and tcp_echo_client.py in other terminals. Whatever a client does, the others are
served: it may disconnect, send bytes that make no sense, or send nothing at all.
"""

import argparse
import logging
import sys

import framing

IDLE_TIMEOUT = 300.0  # seconds: a client that has vanished must not keep its thread forever


def echo(conn: framing.MessageSocket[bytes]) -> None:
    """Answer one client, in its own thread, until it closes the connection."""
    for message in conn:
        conn.send(message.upper())  # of bytes, upper() changes a to z only


def main() -> None:
    """Serve clients until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=9000, type=int, help="0 for any free port")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # one line for a lost client
    try:
        with framing.serve(echo, (options.host, options.port), timeout=IDLE_TIMEOUT) as server:
            print("listening on {}:{}, until Ctrl-C".format(*server.address), flush=True)
            server.serve_forever()
    except KeyboardInterrupt:
        print("stopped")
    except (OSError, ValueError) as error:
        sys.exit(f"cannot listen on {options.host}:{options.port}: {error}")


if __name__ == "__main__":
    main()
