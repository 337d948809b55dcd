"""What must not type-check.  An ignored error that is none is an error too."""

from __future__ import annotations

import socket

import framing
from framing import (
    DelimiterFramer,
    Framer,
    HeaderBodyFramer,
    HeaderMessage,
    LengthPrefixFramer,
    LineFramer,
    MessageSocket,
    StructFramer,
)
from framing.files import recv_file, send_file
from framing.server import MessageRequestHandler


def messages_of_another_type(sock: socket.socket, lines: MessageSocket[str]) -> None:
    LengthPrefixFramer().encode("text")  # type: ignore[arg-type]
    DelimiterFramer().encode("text")  # type: ignore[arg-type]
    LineFramer().encode(b"bytes")  # type: ignore[arg-type]
    StructFramer("!H").encode(7)  # type: ignore[arg-type]
    HeaderBodyFramer().encode({"size": 0})  # type: ignore[arg-type]
    framing.send_msg(sock, "text")  # type: ignore[call-overload]
    framing.send_msg(sock, b"bytes", framer=LineFramer())  # type: ignore[misc]
    lines.send(b"bytes")  # type: ignore[arg-type]
    lines.send_many([b"bytes"])  # type: ignore[list-item]
    MessageSocket(sock).send("text")  # type: ignore[call-overload]


def results_of_another_type(sock: socket.socket) -> None:
    line: bytes = framing.recv_msg(sock, framer=LineFramer())  # type: ignore[assignment]
    text: str = framing.recv_msg(sock)  # type: ignore[assignment]
    lines: MessageSocket[str] = MessageSocket(sock, DelimiterFramer())  # type: ignore[arg-type]
    mine: MessageSocket[str] = framing.connect(("host", 9000))  # type: ignore[assignment]
    framer: Framer[str] = LengthPrefixFramer()  # type: ignore[assignment]
    for message in MessageSocket(sock):
        message.encode()  # type: ignore[attr-defined]
    assert line, (text, lines, mine, framer)


def may_be_none() -> None:
    message = LineFramer().decoder().next_message()
    message.upper()  # type: ignore[union-attr]


def no_text_as_bytes(sock: socket.socket) -> None:
    LineFramer().decode("text")  # type: ignore[arg-type]
    LineFramer().decoder().feed("text")  # type: ignore[arg-type]
    MessageSocket(sock).recv_into("text")  # type: ignore[arg-type]
    framing.send_datagram(sock, "text")  # type: ignore[arg-type]
    DelimiterFramer("\n")  # type: ignore[arg-type]


def options(sock: socket.socket, lines: MessageSocket[str]) -> None:
    LengthPrefixFramer("!I", True)  # type: ignore[call-arg]
    LengthPrefixFramer(max_size="1 MiB")  # type: ignore[arg-type]
    DelimiterFramer(final="keep")  # type: ignore[arg-type]
    LineFramer("utf-8", 80)  # type: ignore[arg-type, call-arg]
    framing.recv_msg(sock, 1024)  # type: ignore[call-overload]
    framing.recv_msg(sock, framer=b"\n")  # type: ignore[call-overload]
    lines.recv(1)  # type: ignore[arg-type]
    lines.recv(timeout="1")  # type: ignore[arg-type]
    lines.sock = sock  # type: ignore[misc]
    framing.connect("host")


def a_framer_has_two_methods() -> None:
    framing.Framer(max_size=1)  # type: ignore[abstract]


def files(sock: socket.socket, lines: MessageSocket[str]) -> None:
    send_file(lines, "path")  # type: ignore[arg-type]
    recv_file(sock)  # type: ignore[call-arg]
    recv_file(sock, "path").upper()  # type: ignore[attr-defined]


class Handler(MessageRequestHandler[str]):
    framer = HeaderBodyFramer()  # type: ignore[assignment]

    def handle(self) -> None:
        self.messages.send(HeaderMessage({}, b""))  # type: ignore[arg-type]
