"""The wire bytes of every format, as data: ``golden.json``.

A change that breaks one of them breaks every peer that is out there.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

import framing
from framing import Framer, HeaderMessage, LengthPrefixFramer

from .outcomes import check, cut, results


@dataclass(frozen=True)
class Vector:
    what: str
    framer: Framer[Any]
    message: Any
    wire: bytes
    only: str
    same_as: list[str]

    def __str__(self) -> str:
        return self.what


def value(data: Any) -> Any:
    """Return what *data* stands for, since JSON has neither bytes nor tuples."""
    if isinstance(data, list):
        return tuple(map(value, data))
    if isinstance(data, dict) and "hex" in data:
        return bytes.fromhex(data["hex"])
    if isinstance(data, dict):
        return HeaderMessage(data["header"], bytes.fromhex(data["body"]))
    return data


def vector(data: dict[str, Any]) -> Vector:
    framer = data["framer"]
    args = map(value, framer.get("args", []))
    return Vector(
        what=data["what"],
        framer=getattr(framing, framer["class"])(*args, **framer.get("kwargs", {})),
        message=value(data["message"]),
        wire=bytes.fromhex(data["wire"]),
        only=data.get("only", ""),
        same_as=data.get("same_as", []),
    )


VECTORS = list(map(vector, json.loads(Path(__file__).with_name("golden.json").read_text("utf-8"))))
RECEIVED = [each for each in VECTORS if each.only != "encode"]
OF_MULTIPROCESSING = [
    each for each in VECTORS if any("multiprocessing" in name for name in each.same_as)
]


@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_a_message_has_these_bytes(vector: Vector) -> None:
    if vector.only != "decode":
        assert vector.framer.encode(vector.message) == vector.wire
    if vector.only != "encode":
        (message,) = check(vector.framer, vector.wire)
        assert (message, type(message)) == (vector.message, type(vector.message))
        assert results(vector.framer.decoder(), cut(vector.wire[:-1], 1), eof=False) == []


@pytest.mark.parametrize(
    "name", ["tokio", "Twisted Int32", "Erlang {packet, 4}", "Netty", "multiprocessing"]
)
def test_every_compatible_implementation_has_a_vector(name: str) -> None:
    assert any(each.startswith(name) for vector in VECTORS for each in vector.same_as)


def test_multiprocessing_sends_these_bytes_and_takes_them() -> None:
    near, far = socket.socketpair()
    near.settimeout(60)
    with near, Connection(far.detach()) as connection:
        for vector in OF_MULTIPROCESSING:
            connection.send_bytes(vector.message)
            assert near.recv(1000) == vector.wire
            near.sendall(vector.wire)
            assert connection.poll(60)
            assert connection.recv_bytes() == vector.message
        for size in (16_384, 16_385, 60_000):  # it sends up to 16 KiB at once
            message = os.urandom(size)
            connection.send_bytes(message)
            assert framing.recv_msg(near, framer=LengthPrefixFramer("!i")) == message
            framing.send_msg(near, message, framer=LengthPrefixFramer("!i"))
            assert connection.poll(60)
            assert connection.recv_bytes() == message
