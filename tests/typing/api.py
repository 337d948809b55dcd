"""The types of everything public, as API: what a user's type checker and editor know."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import framing
from framing import (
    Buffer,
    Datagram,
    Decoder,
    DelimiterFramer,
    Framer,
    HeaderBodyFramer,
    HeaderMessage,
    LengthPrefixFramer,
    LineFramer,
    MessageSocket,
    ReadExactly,
    ReadUntil,
    Steps,
    StructFramer,
)
from framing.files import recv_file, send_file
from framing.server import MessageRequestHandler

if TYPE_CHECKING:
    from typing_extensions import assert_type

Record = tuple[Any, ...]


# Framers, and what their messages are


def framers() -> None:
    assert_type(LengthPrefixFramer().encode(b""), bytes)
    assert_type(LengthPrefixFramer("<H", includes_prefix=True, max_size=9).decode(b""), bytes)
    assert_type(DelimiterFramer(b"\r\n", final="emit", max_size=9).decode(b""), bytes)
    assert_type(LineFramer("gbk", max_size=9).decode(b""), str)
    assert_type(LineFramer().encode(""), bytes)
    assert_type(
        HeaderBodyFramer("<H", size_key="n", max_header_size=9, max_size=9).decode(b""),
        HeaderMessage,
    )
    assert_type(StructFramer("!H8s").decode(b""), Record)


def buffers() -> None:
    for data in (b"", bytearray(), memoryview(b"")):
        LengthPrefixFramer().encode(data)
        DelimiterFramer().encode(data)
        LineFramer().decode(data)
        LineFramer().decoder().feed(data)


def what_every_framer_has(framer: Framer[str]) -> None:
    assert_type(framer.encode(""), bytes)
    assert_type(framer.encode_parts(""), Sequence[Buffer])
    assert_type(framer.decode(b""), str)
    assert_type(framer.decoder(), Decoder[str])
    assert_type(framer.max_size, int)
    assert_type(framer.check_size(1), int)


def options() -> None:
    assert_type(LengthPrefixFramer().format, str)
    assert_type(LengthPrefixFramer().includes_prefix, bool)
    assert_type(DelimiterFramer().delimiter, bytes)
    assert_type(LineFramer().encoding, str)
    assert_type(HeaderBodyFramer().size_key, str)
    assert_type(HeaderBodyFramer().max_header_size, int)
    assert_type(StructFramer("!H").format, str)


def header_messages(message: HeaderMessage) -> None:
    assert_type(message.header, dict[str, Any])
    assert_type(message.body, bytes)
    header, body = message
    assert_type(header, dict[str, Any])
    assert_type(body, bytes)


# Decoders


def decoders(decoder: Decoder[str]) -> None:
    assert_type(decoder.feed(b""), Decoder[str])
    assert_type(list(decoder.feed(b"")), list[str])
    assert_type(decoder.next_message(), str | None)
    assert_type(decoder.bytes_needed, int)
    assert_type(decoder.unread(), bytes)
    assert_type(decoder.framer, Framer[str])
    for message in decoder:
        assert_type(message, str)


# A framer of one's own


class Netstrings(Framer[bytes]):
    def encode_parts(self, message: bytes) -> list[bytes]:
        return [b"%d:" % len(message), message, b","]

    def read_message(self) -> Steps[bytes]:
        digits = yield ReadUntil(b":", limit=9, limit_name="max_size", or_end=False)
        assert_type(digits, bytes)
        return (yield ReadExactly(int(digits), last=True))


def own_framers(sock: socket.socket) -> None:
    assert_type(Netstrings(max_size=9).decode(b""), bytes)
    assert_type(framing.recv_msg(sock, framer=Netstrings(max_size=9)), bytes)
    assert_type(MessageSocket(sock, Netstrings(max_size=9)), MessageSocket[bytes])


# send_msg and recv_msg


def functions(sock: socket.socket, framer: Framer[HeaderMessage]) -> None:
    framing.send_msg(sock, b"")
    framing.send_msg(sock, bytearray())
    framing.send_msg(sock, memoryview(b""), framer=LengthPrefixFramer("!H"))
    framing.send_msg(sock, bytearray(), framer=DelimiterFramer())
    framing.send_msg(sock, "", framer=LineFramer())
    framing.send_msg(sock, (1, b"a"), framer=StructFramer("!H8s"))
    framing.send_msg(sock, HeaderMessage({}, b""), framer=framer)
    assert_type(framing.recv_msg(sock), bytes)
    assert_type(framing.recv_msg(sock, framer=LengthPrefixFramer("!H")), bytes)
    assert_type(framing.recv_msg(sock, framer=DelimiterFramer()), bytes)
    assert_type(framing.recv_msg(sock, framer=LineFramer()), str)
    assert_type(framing.recv_msg(sock, framer=StructFramer("!H8s")), Record)
    assert_type(framing.recv_msg(sock, framer=framer), HeaderMessage)


# MessageSocket


def message_sockets(sock: socket.socket, framer: Framer[HeaderMessage]) -> None:
    assert_type(MessageSocket(sock), MessageSocket[bytes])
    assert_type(MessageSocket(sock, LengthPrefixFramer("!H")), MessageSocket[bytes])
    assert_type(MessageSocket(sock, DelimiterFramer()), MessageSocket[bytes])
    assert_type(MessageSocket(sock, LineFramer()), MessageSocket[str])
    assert_type(MessageSocket(sock, HeaderBodyFramer()), MessageSocket[HeaderMessage])
    assert_type(MessageSocket(sock, StructFramer("!H")), MessageSocket[Record])
    assert_type(MessageSocket(sock, framer), MessageSocket[HeaderMessage])
    with MessageSocket(sock, LineFramer()) as lines:
        assert_type(lines, MessageSocket[str])


def iteration(lines: MessageSocket[str], chunks: MessageSocket[bytes]) -> None:
    for line in lines:
        assert_type(line, str)
    assert_type(iter(lines), Iterator[str])
    assert_type(list(chunks), list[bytes])


def members(lines: MessageSocket[str], chunks: MessageSocket[bytes]) -> None:
    lines.send("", timeout=1)
    lines.send_many([""], timeout=0.5)
    lines.send_many(str(number) for number in range(3))
    chunks.send(bytearray(), timeout=None)
    chunks.send_many([bytearray(), memoryview(b"")])
    lines.flush(timeout=1)
    assert_type(lines.unsent, int)
    assert_type(lines.recv(), str)
    assert_type(lines.recv(timeout=1), str)
    assert_type(chunks.recv_into(bytearray(), timeout=1), int)
    assert_type(lines.recv_exactly(3, timeout=1), bytes)
    assert_type(lines.pending(), bool)
    assert_type(lines.switch(HeaderBodyFramer()), MessageSocket[HeaderMessage])
    assert_type(lines.detach(), tuple[socket.socket, bytes])
    assert_type(lines.framer, Framer[str])
    assert_type(lines.sock, socket.socket)
    assert_type(lines.fileno(), int)
    lines.end()
    lines.close()


def connecting() -> None:
    assert_type(framing.connect(("host", 9000)), MessageSocket[bytes])
    assert_type(framing.connect(("host", 9000), timeout=1), MessageSocket[bytes])
    assert_type(framing.connect(("host", 9000), LengthPrefixFramer("!H")), MessageSocket[bytes])
    assert_type(framing.connect(("host", 9000), LineFramer(), timeout=1), MessageSocket[str])


# Servers


class Lines(MessageRequestHandler[str]):
    framer = LineFramer("gbk")
    timeout = 10

    def handle(self) -> None:
        assert_type(self.messages, MessageSocket[str])
        for line in self.messages:
            assert_type(line, str)
            self.messages.send(line)


# Files


def files(sock: socket.socket, conn: MessageSocket[HeaderMessage], path: os.PathLike[str]) -> None:
    send_file(sock, "path", name="name", checksum=True, progress=print)
    send_file(conn, path, progress=lambda done, total: done < total)
    assert_type(recv_file(conn, path, max_size=9, overwrite=True, progress=print), Path)
    assert_type(recv_file(sock, "path"), Path)


# New in 0.2


def more_framers(wire: bytes) -> None:
    assert_type(framing.NetstringFramer().decode(wire), bytes)
    assert_type(framing.VarintFramer(max_size=9).decode(wire), bytes)
    assert_type(framing.ContentLengthFramer().decode(wire), bytes)
    json: Any = framing.JsonFramer(LineFramer()).decode(wire)
    numbers = framing.CodecFramer(LineFramer(oversize="skip", errors="replace"), str, int)
    assert_type(numbers.decode(wire), int)
    assert json


def servers(context: ssl.SSLContext) -> None:
    def echo(conn: MessageSocket[bytes]) -> None:
        for message in conn:
            conn.send(message)

    def shout(conn: MessageSocket[str]) -> None:
        for line in conn:
            conn.send(line.upper())

    with framing.serve(echo, ("127.0.0.1", 9000), max_connections=3, timeout=1.5) as server:
        server.serve_forever()
    framing.serve(shout, "/run/chat.sock", LineFramer(), ssl=context).shutdown()


def streams(file: IO[bytes], error: framing.BadMessageError) -> None:
    framing.send_msg(file, b"hello")
    assert_type(framing.recv_msg(file), bytes)
    assert_type(framing.recv_msg(file, framer=LineFramer()), str)
    assert_type(error.recoverable, bool)
    with framing.connect("/run/chat.sock", LineFramer()) as conn:
        conn.send_exactly(bytearray(3))
        assert_type(conn.bytes_received, int)
        conn.close(timeout=None)


class EitherBreak(Framer[bytes]):
    def __init__(self) -> None:
        super().__init__(max_size=9)

    def encode_parts(self, message: bytes) -> list[bytes]:
        return [message, b"\n"]

    def read_message(self) -> Steps[bytes]:
        yield framing.Skip(1)
        return (yield ReadUntil((b"\r\n", b"\n"), limit=9))


# Datagrams


def datagrams(accept: Callable[[bytes], bool]) -> None:
    sock = framing.open_datagram(("", 0), family=None, broadcast=True, reuse_address=True)
    assert_type(sock, socket.socket)
    framing.send_datagram(sock, bytearray(), ("host", 9000), ignore_refused=True)
    framing.send_datagram(sock, b"")
    datagram = framing.recv_datagram(sock, 100, ignore_refused=None)
    assert_type(datagram, Datagram)
    assert_type(datagram.data, bytes)
    address = ("host", 9000)
    assert_type(
        framing.request_datagram(sock, b"", address, timeout=1, retries=3, accept=accept), Datagram
    )
    framing.join_multicast(sock, "239.0.0.1", "eth0")
    framing.leave_multicast(sock, "239.0.0.1", 3)


# Errors


def errors(
    bad: framing.DecodeError,
    large: framing.MessageTooLargeError,
    cut: framing.IncompleteMessageError,
    truncated: framing.TruncatedDatagramError,
) -> None:
    assert_type(bad.offset, int | None)
    assert_type(large.size, int | None)
    assert_type(large.limit, int | None)
    assert_type(cut.received, int)
    assert_type(cut.expected, int | None)
    assert_type(truncated.received, int)
    assert_type(truncated.size, int | None)


def bases(end: framing.EndOfStreamError, refused: framing.EncodeError) -> None:
    ends: list[EOFError] = [end]
    values: list[ValueError] = [refused]
    all_of_them: list[framing.FramingError] = [end, refused]
    assert ends, (values, all_of_them)
