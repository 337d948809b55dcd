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
LENGTHS = LengthPrefixFramer("<H", includes_prefix=True, max_size=9)
DELIMITED = DelimiterFramer(b"\r\n", final="emit", max_size=9)
LINES = LineFramer("gbk", errors="replace", oversize="skip", max_size=9)
HEADERS = HeaderBodyFramer("<H", size_key="n", max_header_size=9, max_size=9)
RECORDS = StructFramer("!H8s")

# Framers and decoders


def framers(framer: Framer[str], data: bytes | bytearray | memoryview) -> None:
    assert_type(LENGTHS.decode(data), bytes)
    assert_type(DELIMITED.decode(data), bytes)
    assert_type(LINES.decode(data), str)
    assert_type(HEADERS.decode(data), HeaderMessage)
    assert_type(RECORDS.decode(data), Record)
    assert_type(framing.NetstringFramer().decode(data), bytes)
    assert_type(framing.VarintFramer(max_size=9).decode(data), bytes)
    assert_type(framing.ContentLengthFramer().decode(data), bytes)
    assert_type(framing.CodecFramer(LINES, str, int).decode(data), int)
    json: Any = framing.JsonFramer(LINES).decode(data)
    assert_type(framer.encode(json), bytes)
    assert_type(framer.encode_parts(""), Sequence[Buffer])
    assert_type(framer.decode(b""), str)
    assert_type(framer.decoder(), Decoder[str])
    assert_type(framer.max_size, int)
    assert_type(framer.check_size(1), int)
    assert_type(LENGTHS.encode(data), bytes)
    assert_type(DELIMITED.encode(data), bytes)


def options() -> None:
    assert_type(LENGTHS.format, str)
    assert_type(LENGTHS.includes_prefix, bool)
    assert_type(DELIMITED.delimiter, bytes)
    assert_type(LINES.encoding, str)
    assert_type(HEADERS.size_key, str)
    assert_type(HEADERS.max_header_size, int)
    assert_type(RECORDS.format, str)


def header_messages(message: HeaderMessage) -> None:
    assert_type(message.header, dict[str, Any])
    assert_type(message.body, bytes)
    header, body = message
    assert_type(header, dict[str, Any])
    assert_type(body, bytes)


def decoders(decoder: Decoder[str], data: bytes | bytearray | memoryview) -> None:
    assert_type(decoder.feed(data), Decoder[str])
    assert_type(list(decoder.feed(b"")), list[str])
    assert_type(decoder.next_message(), str | None)
    assert_type(decoder.bytes_needed, int)
    assert_type(decoder.unread(), bytes)
    assert_type(decoder.framer, Framer[str])
    for message in decoder:
        assert_type(message, str)


class Netstrings(Framer[bytes]):
    def encode_parts(self, message: bytes) -> list[bytes]:
        return [b"%d:" % len(message), message, b","]

    def read_message(self) -> Steps[bytes]:
        yield framing.Skip(1)
        digits = yield ReadUntil((b":", b"::"), limit=9, limit_name="max_size", or_end=False)
        assert_type(digits, bytes)
        return (yield ReadExactly(int(digits), last=True))


# Streams


def functions(sock: socket.socket, file: IO[bytes], framer: Framer[HeaderMessage]) -> None:
    framing.send_msg(sock, b"")
    framing.send_msg(sock, bytearray())
    framing.send_msg(file, memoryview(b""), framer=LENGTHS)
    framing.send_msg(sock, bytearray(), framer=DELIMITED)
    framing.send_msg(sock, "", framer=LINES)
    framing.send_msg(sock, (1, b"a"), framer=RECORDS)
    framing.send_msg(sock, HeaderMessage({}, b""), framer=framer)
    assert_type(framing.recv_msg(sock), bytes)
    assert_type(framing.recv_msg(file), bytes)
    assert_type(framing.recv_msg(sock, framer=LENGTHS), bytes)
    assert_type(framing.recv_msg(sock, framer=DELIMITED), bytes)
    assert_type(framing.recv_msg(file, framer=LINES), str)
    assert_type(framing.recv_msg(sock, framer=RECORDS), Record)
    assert_type(framing.recv_msg(sock, framer=framer), HeaderMessage)
    assert_type(framing.recv_msg(sock, framer=Netstrings(max_size=9)), bytes)


def message_sockets(sock: socket.socket, framer: Framer[HeaderMessage]) -> None:
    assert_type(MessageSocket(sock), MessageSocket[bytes])
    assert_type(MessageSocket(sock, LENGTHS), MessageSocket[bytes])
    assert_type(MessageSocket(sock, DELIMITED), MessageSocket[bytes])
    assert_type(MessageSocket(sock, Netstrings(max_size=9)), MessageSocket[bytes])
    assert_type(MessageSocket(sock, HEADERS), MessageSocket[HeaderMessage])
    assert_type(MessageSocket(sock, RECORDS), MessageSocket[Record])
    assert_type(MessageSocket(sock, framer), MessageSocket[HeaderMessage])
    with MessageSocket(sock, LINES) as lines:
        assert_type(lines, MessageSocket[str])
    assert_type(framing.connect(("host", 9000)), MessageSocket[bytes])
    assert_type(framing.connect(("host", 9000), LENGTHS), MessageSocket[bytes])
    assert_type(framing.connect("/run/chat.sock", LINES, timeout=1), MessageSocket[str])


def members(lines: MessageSocket[str], chunks: MessageSocket[bytes]) -> None:
    lines.send("", timeout=1)
    lines.send_many([""], timeout=0.5)
    lines.send_many(str(number) for number in range(3))
    chunks.send(bytearray(), timeout=None)
    chunks.send_many([bytearray(), memoryview(b"")])
    chunks.send_exactly(bytearray(3))
    lines.flush(timeout=1)
    assert_type(lines.unsent, int)
    assert_type(lines.recv(), str)
    assert_type(lines.recv(timeout=1), str)
    assert_type(chunks.recv_into(bytearray(), timeout=1), int)
    assert_type(lines.recv_exactly(3, timeout=1), bytes)
    assert_type(lines.bytes_received, int)
    assert_type(lines.pending(), bool)
    assert_type(lines.switch(HEADERS), MessageSocket[HeaderMessage])
    assert_type(lines.detach(), tuple[socket.socket, bytes])
    assert_type(lines.framer, Framer[str])
    assert_type(lines.sock, socket.socket)
    assert_type(lines.fileno(), int)
    for line in lines:
        assert_type(line, str)
    assert_type(iter(lines), Iterator[str])
    assert_type(list(chunks), list[bytes])
    lines.end()
    lines.close(timeout=None)


# Servers and files


class Lines(MessageRequestHandler[str]):
    framer = LINES
    timeout = 10

    def handle(self) -> None:
        assert_type(self.messages, MessageSocket[str])
        for line in self.messages:
            assert_type(line, str)
            self.messages.send(line)


def servers(context: ssl.SSLContext) -> None:
    def echo(conn: MessageSocket[bytes]) -> None:
        for message in conn:
            conn.send(message)

    def shout(conn: MessageSocket[str]) -> None:
        for line in conn:
            conn.send(line.upper())

    with framing.serve(echo, ("127.0.0.1", 9000), max_connections=3, timeout=1.5) as server:
        server.serve_forever()
    framing.serve(shout, "/run/chat.sock", LINES, ssl=context).shutdown()


def files(sock: socket.socket, conn: MessageSocket[HeaderMessage], path: os.PathLike[str]) -> None:
    send_file(sock, "path", name="name", checksum=True, progress=print)
    send_file(conn, path, progress=lambda done, total: done < total)
    assert_type(recv_file(conn, path, max_size=9, overwrite=True, progress=print), Path)
    assert_type(recv_file(sock, "path"), Path)


# Datagrams


def datagrams(accept: Callable[[bytes], bool]) -> None:
    sock, address = framing.open_datagram(("", 0), broadcast=True, reuse_address=True), ("host", 9)
    assert_type(sock, socket.socket)
    framing.open_datagram(("", 0), family=None)
    framing.send_datagram(sock, bytearray(), address, ignore_refused=True)
    framing.send_datagram(sock, b"")
    datagram = framing.recv_datagram(sock, 100, ignore_refused=None)
    assert_type(datagram, Datagram)
    assert_type(datagram.data, bytes)
    answer = framing.request_datagram(sock, b"", address, timeout=1, retries=3, accept=accept)
    assert_type(answer, Datagram)
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
    assert_type(bad.recoverable, bool)
    assert_type(large.size, int | None)
    assert_type(large.limit, int | None)
    assert_type(cut.received, int)
    assert_type(cut.expected, int | None)
    assert_type(truncated.received, int)
    assert_type(truncated.size, int | None)


def bases(
    end: framing.EndOfStreamError, bad: framing.BadMessageError, refused: framing.EncodeError
) -> None:
    ends: list[EOFError] = [end]
    values: list[ValueError] = [bad, refused]
    all_of_them: list[framing.FramingError] = [end, bad, refused]
    assert ends, (values, all_of_them)
