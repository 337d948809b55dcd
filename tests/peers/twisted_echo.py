"""Servers in Twisted that send each message back, in a process of their own.

Prints a JSON object, from the name of each protocol to its port, and runs until the standard
input ends.
"""

from __future__ import annotations

import json

from twisted.internet import reactor, stdio
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.basic import (
    Int8StringReceiver,
    Int16StringReceiver,
    Int32StringReceiver,
    LineOnlyReceiver,
    NetstringReceiver,
)
from twisted.python.failure import Failure

MOST = 2 * 1024 * 1024


class Echo8(Int8StringReceiver):
    def stringReceived(self, string: bytes) -> None:  # noqa: N802  # Twisted's names
        self.sendString(string)


class Echo16(Int16StringReceiver):
    def stringReceived(self, string: bytes) -> None:  # noqa: N802
        self.sendString(string)


class Echo32(Int32StringReceiver):
    MAX_LENGTH = MOST

    def stringReceived(self, string: bytes) -> None:  # noqa: N802
        self.sendString(string)


class EchoLines(LineOnlyReceiver):
    MAX_LENGTH = MOST

    def lineReceived(self, line: bytes) -> None:  # noqa: N802
        self.sendLine(line)


class EchoLinesOfUnix(EchoLines):
    delimiter = b"\n"


class EchoNetstrings(NetstringReceiver):
    MAX_LENGTH = MOST

    def stringReceived(self, string: bytes) -> None:  # noqa: N802
        self.sendString(string)


class UntilTheEnd(Protocol):
    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002, N802
        reactor.stop()


def main() -> None:
    ports = {}
    for protocol in (Echo8, Echo16, Echo32, EchoLines, EchoLinesOfUnix, EchoNetstrings):
        factory = Factory.forProtocol(protocol)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        ports[protocol.__name__] = port.getHost().port
    print(json.dumps(ports), flush=True)
    stdio.StandardIO(UntilTheEnd())
    reactor.run()


main()
