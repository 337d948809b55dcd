"""A pair of ``MessageSocket``s, driven at random, against a model of what must arrive.

The model of one direction is the bytes that were accepted and not yet taken, message by message.
Whatever the library sends or returns wrong, twice, too early, in another order or not at all
differs from it. Send buffers are small, so that much is often unsent. More, longer, and with
failures made short, which can take minutes:

    HYPOTHESIS_PROFILE=thorough python -m pytest -o faulthandler_timeout=0 tests/test_stateful.py
"""

from __future__ import annotations

import io
import os
import random
import shutil
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from framing import (
    DelimiterFramer,
    EncodeError,
    EndOfStreamError,
    Framer,
    HeaderBodyFramer,
    HeaderMessage,
    IncompleteMessageError,
    LengthPrefixFramer,
    LineFramer,
    MessageSocket,
    MessageTooLargeError,
)
from framing.files import recv_file, send_file

from .fakes import INTERRUPTIONS, MisbehavingSocket
from .pairs import TRANSIENT, Pair, unix_pair, wrapped_pair

LENGTHS, LINES, HEADERS, DELIMITED = FRAMERS = (
    LengthPrefixFramer("<H"),
    LineFramer(),
    HeaderBodyFramer(),
    DelimiterFramer(b"\r\n"),
)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "")
EXAMPLES, STEPS = {"thorough": (500, 100), "quick": (10, 50)}.get(PROFILE, (30, 50))
WALK = 5000 if PROFILE == "thorough" else 300
ENOUGH = 10.0

# A socketpair of Linux holds exactly what was sent and not received, at any moment.
IS_EXACT = sys.platform == "linux"


def plain(pair: Pair) -> Pair:
    return pair


def dripping(limit: int) -> Callable[[Pair], Pair]:
    """Make sockets that move little at a time, and are interrupted in between."""

    def make(pair: Pair) -> Pair:
        client, server = (
            MisbehavingSocket.around(sock, *INTERRUPTIONS, limit=limit) for sock in pair
        )
        return client, server

    return make


KINDS: dict[str, Callable[[], Pair]] = {
    "plain": unix_pair,
    "wrapped": wrapped_pair,
    "dripping": lambda: dripping(100)(unix_pair()),
    "hardly dripping": lambda: dripping(2000)(unix_pair()),
}


def message_for(framer: Framer[Any], size: int, seed: int) -> Any:
    """Return a message of about that size, which differs from its neighbours."""
    text = (f"{seed}:" * (size // 2 + 1))[:size]
    if framer is LINES:
        return text
    if framer is HEADERS:
        return HeaderMessage({"n": seed, "size": size}, text.encode())
    return text.encode()


@dataclass(eq=False)
class Item:
    """A message under way, or what is left of one of which the first bytes were taken."""

    framer: Framer[Any] | None
    wire: bytes
    message: Any = None


@dataclass(eq=False)
class Direction:
    """What was accepted from one side, and not yet taken by the other."""

    items: deque[Item] = field(default_factory=deque)
    has_ended: bool = False

    @property
    def size(self) -> int:
        return sum(len(item.wire) for item in self.items)

    def accept(self, framer: Framer[Any], message: Any) -> None:
        self.items.append(Item(framer, framer.encode(message), message))

    def take(self, size: int) -> bytes:
        """Take the first bytes, as they are on the wire."""
        taken = b""
        while len(taken) < size:
            item = self.items.popleft()
            rest = size - len(taken)
            taken += item.wire[:rest]
            if rest < len(item.wire):
                self.items.appendleft(Item(None, item.wire[rest:]))
        return taken


class Side:
    """One end: the library's, and the model of what comes to it and goes from it."""

    def __init__(self, sock: socket.socket, incoming: Direction, sent: Direction) -> None:
        self.messages: MessageSocket[Any] = MessageSocket(sock, LENGTHS)
        self.iterator = iter(self.messages)
        self.incoming = incoming
        self.sent = sent
        self.is_cut_short = False  # a recv_exactly()
        self.other: Side = self

    @property
    def framer(self) -> Framer[Any]:
        return self.messages.framer

    @property
    def sock(self) -> socket.socket:
        return self.messages.sock

    @property
    def head(self) -> Item | None:
        return self.incoming.items[0] if self.incoming.items else None

    @property
    def arrived(self) -> int:
        """How many bytes have come and were not taken."""
        return self.incoming.size - self.other.messages.unsent

    @property
    def head_has_arrived(self) -> bool:
        return self.head is not None and len(self.head.wire) <= self.arrived

    @property
    def settles_soon(self) -> bool:
        """Whether a call that has to send what is unsent does not wait for long."""
        return not self.messages.unsent or self.sock.gettimeout() != ENOUGH

    def take_up(self, messages: MessageSocket[Any]) -> None:
        self.messages, self.iterator = messages, iter(messages)

    def switch(self, framer: Framer[Any]) -> None:
        old = self.messages
        self.take_up(old.switch(framer))
        self.is_cut_short = False
        with pytest.raises(io.UnsupportedOperation):
            old.recv(timeout=0)


sides = st.sampled_from([0, 1])
framers = st.sampled_from(FRAMERS)
sizes = st.sampled_from([0, 1, 2, 3, 10, 100, 3000, 6000, 20_000, 50_000])
own_timeouts = st.sampled_from([0, 0.001, ENOUGH])


class Connection(RuleBasedStateMachine):
    """Two sides, what they do, and what must come of it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.directory = Path(tempfile.mkdtemp())

    @initialize(kind=st.sampled_from(["plain", *KINDS]))
    def connect(self, kind: str) -> None:
        self.kind = kind
        pair = KINDS[kind]()
        for sock in pair:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            sock.settimeout(0.001)
        there, back = Direction(), Direction()
        self.sides = [Side(pair[0], back, there), Side(pair[1], there, back)]
        self.sides[0].other, self.sides[1].other = self.sides[1], self.sides[0]

    @property
    def drips(self) -> bool:
        return "dripping" in self.kind

    def new_message(self, framer: Framer[Any], size: int) -> Any:
        self.count += 1
        return message_for(framer, size, self.count)

    # Sending

    @rule(which=sides, size=sizes)
    def send(self, which: int, size: int) -> None:
        side = self.sides[which]
        if side.sent.has_ended and self.drips:
            return  # it may stay unsent for ever, as a TLS record that has begun does
        message = self.new_message(side.framer, size)
        before = side.messages.unsent
        try:
            side.messages.send(message, timeout=0)
        except TRANSIENT:
            assert side.messages.unsent <= before
        except BrokenPipeError:
            assert side.sent.has_ended
        else:
            assert not side.sent.has_ended
            side.sent.accept(side.framer, message)
            assert side.messages.unsent <= before + len(side.sent.items[-1].wire)

    @rule(which=sides, many=st.lists(sizes, max_size=5), bad=st.booleans())
    def send_many(self, which: int, many: list[int], bad: bool) -> None:
        side = self.sides[which]
        if side.sent.has_ended:
            return  # what was taken stays unsent for ever
        taken: list[Any] = []
        good = [self.new_message(side.framer, size) for size in many]

        def messages() -> Iterator[Any]:
            for message in good:
                taken.append(message)
                yield message
            if bad:
                yield object()

        try:
            side.messages.send_many(messages(), timeout=0)
        except TRANSIENT:
            pass
        except TypeError:
            assert bad
            assert taken == good
        else:
            assert not bad
            assert taken == good
        for message in taken:
            side.sent.accept(side.framer, message)

    @rule(which=sides)
    def send_what_cannot_be_sent(self, which: int) -> None:
        side = self.sides[which]
        before = side.messages.unsent
        bad = {LENGTHS: bytes(70_000), LINES: "a\nb", DELIMITED: b"a\r\n"}
        with pytest.raises(EncodeError):
            side.messages.send(bad.get(side.framer, HeaderMessage({"n": float("nan")}, b"")))
        assert side.messages.unsent == before

    @rule(which=sides)
    def flush(self, which: int) -> None:
        side = self.sides[which]
        before = side.messages.unsent
        try:
            side.messages.flush(timeout=0)
        except TRANSIENT:
            assert side.messages.unsent <= before
        else:
            assert side.messages.unsent == 0

    # Receiving

    @rule(which=sides, iterate=st.booleans())
    def receive(self, which: int, iterate: bool) -> None:
        side = self.sides[which]
        if not self.is_ready_for_messages(side):
            if side.head is not None:
                self.take_exactly(side, len(side.head.wire))
            return
        if iterate and side.sock.gettimeout() != ENOUGH:
            self.receive_by(side, lambda: next(side.iterator))
        else:
            self.receive_by(side, lambda: side.messages.recv(timeout=0))

    def is_ready_for_messages(self, side: Side) -> bool:
        """Switch to the format of the next message, unless what comes next is a part of one."""
        if side.head is None:
            return True
        if side.head.framer is None:
            return False
        if side.framer is not side.head.framer:
            side.switch(side.head.framer)
        return True

    def receive_by(self, side: Side, receive: Callable[[], Any]) -> bool:
        """Receive a message that is next, if one is; return whether it came."""
        side.is_cut_short = False
        try:
            message = receive()
        except TRANSIENT:
            self.nothing_came(side)
            return False
        except (EndOfStreamError, StopIteration):
            assert side.head is None
            assert side.incoming.has_ended
            return False
        assert side.head_has_arrived
        assert message == side.incoming.items.popleft().message
        return True

    def nothing_came(self, side: Side) -> None:
        if IS_EXACT and not self.drips:
            assert not side.head_has_arrived
            assert side.head is not None or not side.incoming.has_ended

    @rule(which=sides, room=st.sampled_from([0, 2, 5000, 30_000, 60_000]))
    def receive_into(self, which: int, room: int) -> None:
        side = self.sides[which]
        buffer = bytearray(room)
        if not self.is_ready_for_messages(side):
            return
        if side.framer is not LENGTHS:
            with pytest.raises(TypeError, match="recv_into"):
                side.messages.recv_into(buffer, timeout=0)
            return
        try:
            self.receive_by(
                side, lambda: bytes(buffer[: side.messages.recv_into(buffer, timeout=0)])
            )
        except ValueError:
            assert side.head is not None
            assert len(side.head.message) > room

    @rule(which=sides)
    def receive_a_large_one_into_a_buffer(self, which: int) -> None:
        side = self.sides[which]
        if side.head is not None or side.incoming.has_ended:
            return
        side.other.switch(LENGTHS)
        self.send(1 - which, 50_000)
        for _ in range(1000):
            if side.head is None:
                return
            self.receive_into(which, 60_000)
            for _ in range(2):
                self.flush(1 - which)

    @rule(which=sides, extra=st.sampled_from([-3, -1, 0, 2, 5000]))
    def receive_exactly(self, which: int, extra: int) -> None:
        side = self.sides[which]
        self.take_exactly(side, max(1, (len(side.head.wire) if side.head else 0) + extra))

    def take_exactly(self, side: Side, size: int) -> None:
        try:
            data = side.messages.recv_exactly(size, timeout=0)
        except TRANSIENT:
            side.is_cut_short = True
            assert not IS_EXACT or self.drips or side.arrived < size
        except (EndOfStreamError, IncompleteMessageError) as error:
            side.is_cut_short = True
            assert side.incoming.has_ended
            assert isinstance(error, EndOfStreamError) == (side.incoming.size == 0)
            assert side.incoming.size < size
        else:
            side.is_cut_short = False
            assert size <= side.arrived
            assert data == side.incoming.take(size)

    @rule(which=sides)
    def what_is_pending_comes_at_once(self, which: int) -> None:
        side = self.sides[which]
        if side.is_cut_short or (side.head is not None and side.head.framer is not side.framer):
            return
        if side.messages.pending():
            came = self.receive_by(side, lambda: side.messages.recv(timeout=0))
            assert came or (side.head is None and side.incoming.has_ended)

    @rule(which=sides, few=st.lists(st.integers(0, 50), min_size=2, max_size=4))
    def send_a_few_and_take_one(self, which: int, few: list[int]) -> None:
        """So that some are received ahead."""
        self.send_many(which, few, bad=False)
        self.receive(1 - which, iterate=False)

    # The connection

    @rule(which=sides, timeout=own_timeouts)
    def set_the_sockets_own_timeout(self, which: int, timeout: float) -> None:
        if not (self.drips and timeout == ENOUGH):
            self.sides[which].sock.settimeout(timeout)

    @rule(which=sides, framer=framers)
    def switch(self, which: int, framer: Framer[Any]) -> None:
        self.sides[which].switch(framer)

    @rule(which=sides, ahead=st.booleans())
    def detach(self, which: int, ahead: bool) -> None:
        side = self.sides[which]
        if ahead:
            self.send_a_few_and_take_one(1 - which, [1, 2, 3])
        if not side.settles_soon:
            return
        own = side.sock.gettimeout()
        try:
            sock, rest = side.messages.detach()
        except TRANSIENT:
            assert side.messages.unsent
            return
        assert side.sent.has_ended or side.messages.unsent == 0
        assert sock.gettimeout() == own
        assert len(rest) <= side.arrived
        assert rest == side.incoming.take(len(rest))
        old, framer = side.messages, side.framer
        side.take_up(MessageSocket(sock, framer))
        side.is_cut_short = False
        old.close()  # which is not its connection any more

    @precondition(lambda self: self.count > 20)
    @rule(which=sides)
    def end(self, which: int) -> None:
        side = self.sides[which]
        if not side.settles_soon or side.sent.has_ended:
            return
        try:
            side.messages.end()
        except TRANSIENT:
            assert side.messages.unsent
        else:
            assert side.messages.unsent == 0
            side.sent.has_ended = True

    # Files

    @precondition(lambda self: not self.drips)
    @rule(
        which=sides,
        size=sizes,
        checksum=st.booleans(),
        kind=st.sampled_from(["file", "message", "refused"]),
    )
    def send_a_file(self, which: int, size: int, checksum: bool, kind: str) -> None:
        """A file comes after what was sent before, and before what is sent after it."""
        sender, receiver = self.sides[which], self.sides[1 - which]
        if sender.sent.has_ended:
            return
        for side in self.sides:
            side.sock.settimeout(ENOUGH)
        path = self.directory / "source"
        path.write_bytes(os.urandom(size))
        sender.switch(HEADERS)
        after = self.new_message(HEADERS, 10)

        def send() -> None:
            send_file(sender.messages, path, name="name", checksum=checksum)
            sender.messages.send(after)

        with ThreadPoolExecutor() as executor:
            sending = executor.submit(send)
            self.take_all_of(receiver)
            receiver.switch(HEADERS)
            if kind == "file":
                received = recv_file(receiver.messages, self.directory)
                assert received.read_bytes() == path.read_bytes()
                received.unlink()
            elif kind == "message":
                message = receiver.messages.recv()
                assert (message.header["name"], message.body) == ("name", path.read_bytes())
            elif size:
                with pytest.raises(MessageTooLargeError):
                    recv_file(receiver.messages, self.directory, max_size=size - 1)
            else:
                with pytest.raises(FileNotFoundError):
                    recv_file(receiver.messages, self.directory / "nowhere")
                assert receiver.messages.recv().body == b""
            assert receiver.messages.recv() == after
            sending.result(ENOUGH)
        assert os.listdir(self.directory) == ["source"]
        for side in self.sides:
            side.sock.settimeout(0.001)

    def take_all_of(self, side: Side) -> None:
        """Take all that was sent before, waiting for it."""
        while side.head is not None:
            if side.head.framer is None:
                data = side.messages.recv_exactly(len(side.head.wire))
                assert data == side.incoming.items.popleft().wire
            else:
                self.is_ready_for_messages(side)
                assert side.messages.recv() == side.incoming.items.popleft().message
        side.is_cut_short = False

    # Always

    @invariant()
    def no_more_is_unsent_than_was_accepted(self) -> None:
        for side in getattr(self, "sides", []):
            assert 0 <= side.messages.unsent <= side.sent.size

    def teardown(self) -> None:
        try:
            if hasattr(self, "sides"):
                self.everything_arrives_in_the_end()
        finally:
            for side in getattr(self, "sides", []):
                side.sock.close()
            shutil.rmtree(self.directory)

    def everything_arrives_in_the_end(self) -> None:
        for side in self.sides:
            side.sock.settimeout(0)
        idle = 0
        while any(side.head is not None or side.messages.unsent for side in self.sides):
            before = self.progress()
            for which, side in enumerate(self.sides):
                for _ in range(2):  # three calls, when each fourth on a dripping socket works
                    self.flush(which)
                if self.is_ready_for_messages(side):
                    self.receive_by(side, side.messages.recv)
                elif side.head is not None:
                    self.take_exactly(side, len(side.head.wire))
            idle = idle + 1 if before == self.progress() else 0
            assert idle < 1000, "nothing comes any more"
        for which in (0, 1):
            while not self.sides[which].sent.has_ended:
                self.end(which)
        for side in self.sides:
            self.take_the_end(side)

    def progress(self) -> tuple[int, int]:
        (one, other) = self.sides
        return one.incoming.size + one.messages.unsent, other.incoming.size + other.messages.unsent

    def take_the_end(self, side: Side) -> None:
        for _ in range(10):
            try:
                side.messages.recv()
            except TRANSIENT:
                continue
            except EndOfStreamError:
                break
        assert side.messages.pending()
        assert list(side.messages) == []
        assert side.messages.detach()[1] == b""


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_walk_that_leaves_nothing_out(kind: str) -> None:
    """The same steps, each as often as the others, for Hypothesis prefers a few at a time."""
    choose = random.Random(kind)
    connection = Connection()
    connection.connect(kind)

    def some(most: int) -> list[int]:
        return choose.choices(
            [0, 1, 2, 10, 100, 3000, 6000, 20_000, 50_000], k=choose.randint(0, most)
        )

    rules: list[Callable[[int], None]] = [
        lambda which: connection.send(which, (some(1) or [10])[0]),
        lambda which: connection.send_many(which, some(5), choose.random() < 0.2),
        lambda which: connection.send_a_few_and_take_one(which, [1, 2, 3]),
        connection.flush,
        lambda which: connection.receive(which, choose.random() < 0.5),
        lambda which: connection.receive_into(which, choose.choice([0, 2, 5000, 60_000])),
        connection.receive_a_large_one_into_a_buffer,
        lambda which: connection.receive_exactly(which, choose.choice([-3, -1, 0, 2, 5000])),
        connection.what_is_pending_comes_at_once,
        lambda which: connection.switch(which, choose.choice(FRAMERS)),
        lambda which: connection.detach(which, choose.random() < 0.5),
    ]

    try:
        for step in range(WALK):
            choose.choice(rules)(choose.randint(0, 1))
            connection.no_more_is_unsent_than_was_accepted()
            if step % 20 == 0 and not connection.drips:
                how = choose.choice(["file", "message", "refused"])
                connection.send_a_file(step % 2, (some(1) or [3])[0], step % 3 == 0, how)
    finally:
        connection.teardown()


TestConnection = Connection.TestCase
TestConnection.settings = settings(
    settings.get_profile("default"),
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    phases=[phase for phase in Phase if PROFILE == "thorough" or phase is not Phase.shrink],
)
