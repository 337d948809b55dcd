r"""What a wire format is, and how to write one.

A **framer** says how one message looks on the wire; a **decoder** reads a stream of them.
To write a format of your own, derive from :class:`Framer` and write two methods, one a
direction.  Netstrings (``5:hello,``), whole::

    class NetstringFramer(Framer[bytes]):
        def __init__(self, *, max_size: int = 1024 * 1024) -> None:
            super().__init__(max_size=max_size)

        def encode_parts(self, message: bytes) -> list[bytes]:
            if len(message) > self.max_size:
                raise EncodeError(f"{len(message)} bytes are more than max_size={self.max_size}")
            return [b"%d:" % len(message), message, b","]

        def read_message(self) -> Steps[bytes]:
            digits = yield ReadUntil(b":", limit=len(str(self.max_size)))
            if not digits.isdigit() or digits != b"%d" % int(digits):
                raise DecodeError(f"expected a decimal length, not {digits!r}")
            size = self.check_size(int(digits))
            payload = yield ReadExactly(size + 1, last=True)
            if payload[-1:] != b",":
                raise DecodeError(f"expected a comma after the payload, not {payload[-1:]!r}")
            return payload[:-1]

``read_message`` is a generator that reads one message.  It asks for bytes, is given them once
all have come, and never sees how the stream was cut.  Buffering, the end of the stream, the
offset in errors, ``unread`` and ``bytes_needed`` are the decoder's work, and hold for every
format alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .buffer import LARGE_PIECE
from .decoder import Decoder
from .errors import DecodeError, EncodeError, IncompleteMessageError, MessageTooLargeError
from .requests import ReadExactly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import NoReturn

    from .buffer import Buffer
    from .pieces import Pieces
    from .requests import Steps

__all__ = ["Framer"]

M = TypeVar("M")

# How much of the stream is decoded ahead at once.  A message of a few bytes takes ten times
# as much room as an object, so this bounds what decoding ahead can hold; more is no faster.
BATCH_SIZE = 128 * 1024


class Framer(ABC, Generic[M]):
    r"""A wire format: how messages of type ``M`` look in a stream of bytes.

    A framer is an immutable value.  It equals another of the same class and options, can be
    hashed, pickled and shared between threads and connections.  Its public attributes are
    the options it was made with.

    A format of your own is a class that says how a message is written and how one is read;
    a decoder does the rest.  Here are messages behind the length in three bytes, which no
    ``struct`` format has:

    >>> from framing import EncodeError, Framer, ReadExactly
    >>> class ThreeBytes(Framer[bytes]):
    ...     def __init__(self, *, max_size=2**24 - 1):
    ...         super().__init__(max_size=max_size)
    ...     def encode_parts(self, message):
    ...         if len(message) > self.max_size:
    ...             raise EncodeError(f"expected at most {self.max_size} bytes")
    ...         return [len(message).to_bytes(3, "big"), message]
    ...     def read_message(self):
    ...         size = int.from_bytes((yield ReadExactly(3)), "big")
    ...         return (yield ReadExactly(self.check_size(size), last=True))
    >>> ThreeBytes().encode(b"hello")
    b'\x00\x00\x05hello'
    >>> list(ThreeBytes().decoder().feed(b"\x00\x00\x05hello\x00\x00\x02hi"))
    [b'hello', b'hi']

    Args:
        max_size: The largest payload, in bytes, sent or received.
        options: What else tells this framer from others of its class, to be kept as
            attributes.  A name that begins with an underscore is kept, but not compared.

    Raises:
        ValueError: *max_size* is negative.
    """

    max_size: int

    def __init__(self, *, max_size: int, **options: object) -> None:
        check_limit("max_size", max_size)
        vars(self).update(options, max_size=max_size)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # A fast path that is inherited from beyond the method it stands for is of another format.
        if _depth(cls, "read_message") < _depth(cls, "read_batch"):
            cls.read_batch = Framer.read_batch  # type: ignore[method-assign]
        if _depth(cls, "read_message") < _depth(cls, "_receive_at_once"):
            cls._receive_at_once = Framer._receive_at_once  # type: ignore[method-assign]
        if _depth(cls, "encode_parts") < _depth(cls, "encode_some"):
            cls.encode_some = Framer.encode_some  # type: ignore[method-assign]

    # What a format defines

    @abstractmethod
    def encode_parts(self, message: M) -> Sequence[Buffer]:
        """Return the wire bytes of *message* in pieces, so that none need be copied.

        Raises:
            EncodeError: This format cannot carry *message*.
            TypeError: *message* is not of the type that this format carries.
        """

    @abstractmethod
    def read_message(self) -> Steps[M]:
        """Read one message: yield what to read, be sent the bytes, return the message.

        It may be begun again for the same bytes, so what it remembers is in local variables.
        The message is not ``None``, which stands for "none yet", and has at least one byte.

        Raises:
            DecodeError: The bytes break the format.  (A ``ValueError``, such as a failed
                ``bytes.decode`` raises, becomes one.)
        """

    def read_batch(
        self,
        block: bytes,  # noqa: ARG002  # used by the formats that have a fast path
        start: int,
        stop: int,  # noqa: ARG002
    ) -> tuple[Iterator[M], int, int]:
        """Read whole messages from ``block[start:stop]`` at once; a fast path, and optional.

        No message in these bytes can be too large, since they are ``max_size`` at most; the
        last one may be cut.

        Returns:
            The messages, those that ``read_message`` would return; where in *block* they end;
            and the number of bytes, counted from that end, below which calling again is
            useless, or 0 if ``read_message`` has to look at them, as it has at bytes that
            break the format.  The iterator's ``length_hint`` is 0 when it is exhausted, and
            only then, as a list iterator's is.
        """
        return iter(()), start, 0

    def _window(self) -> int:
        """Return how many bytes to give to ``read_batch`` at once; 0 where there is none.

        At most ``max_size``, so that it need not compare sizes with that.
        """
        if type(self).read_batch is Framer.read_batch:
            return 0
        return min(BATCH_SIZE, self.max_size)

    def _receive_at_once(
        self, receive: Callable[[int], bytes], pieces: Pieces
    ) -> tuple[M, int] | None:
        """Return one message and its size, if each of its pieces comes in one call of *receive*.

        This is the usual case for ``recv_msg``, and takes a third of the time of the general
        one.  Otherwise ``None``, also for what a decoder has to refuse.

        Args:
            receive: A C function.  What it returns is kept in the same step of the interpreter,
                so that no signal handler runs in between.
            pieces: Empty.  What was received is put there, whatever is returned or raised.
        """
        steps = self.read_message()
        received = pieces.more
        try:
            request = next(steps)
            while type(request) is ReadExactly and request.size < LARGE_PIECE:
                data = b""
                if request.size:
                    received += map(receive, (request.size,))
                    data = received[-1]
                if len(data) < request.size:
                    return None
                request = steps.send(data)
        except StopIteration as end:
            size = sum(map(len, received))
            return (end.value, size) if size and end.value is not None else None
        except (TypeError, ValueError):
            pass  # a decoder comes to the same, and tells what it is
        return None

    # What every format then has

    def encode(self, message: M) -> bytes:
        """Return the wire bytes of *message*.

        Raises:
            EncodeError: This format cannot carry *message*.
            TypeError: *message* is not of the type that this format carries.
        """
        parts = self.encode_parts(message)
        try:
            return b"".join(parts)
        except TypeError as error:
            raise TypeError(
                f"expected {self!r}.encode_parts() to return bytes in a list or a tuple: {error}"
            ) from None

    def encode_some(self, messages: Iterator[M], parts: list[Buffer], size: int) -> bool:
        """Append the wire bytes of *messages* to *parts*, until that is *size* bytes or more.

        Those of a message that more may follow are copied, since its sender may use its buffer
        for the next one.  If an error is raised, *parts* holds the messages before it, each
        whole.

        Returns:
            Whether there may be more messages.

        Raises:
            EncodeError: This format cannot carry one of the messages.
            TypeError: One is not of the type that this format carries.
            BaseException: Whatever *messages* raises.
        """
        for message in messages:
            wire = self.encode_parts(message)
            size -= sum(memoryview(part).nbytes for part in wire)
            if size <= 0:
                parts += wire
                return True
            parts.append(b"".join(wire))
        return False

    def decode(self, data: Buffer) -> M:
        r"""Return the one message that *data* holds, as a datagram does.

        >>> from framing import LengthPrefixFramer
        >>> LengthPrefixFramer().decode(b"\x00\x00\x00\x05hello")
        b'hello'

        Raises:
            IncompleteMessageError: *data* ends before the message does.
            DecodeError: *data* breaks the format, or holds more than one message.
        """
        decoder = self.decoder().feed(data)
        decoder.feed_eof()
        for message in decoder:
            rest = decoder.unread()
            if not rest:
                return message
            size = memoryview(data).nbytes - len(rest)
            raise DecodeError(
                f"expected one message and no more, but {len(rest)} bytes follow its {size}",
                offset=size,
            )
        raise IncompleteMessageError("expected one message, and there are no bytes")

    def decoder(self) -> Decoder[M]:
        """Return a new decoder, for one stream of messages in this format."""
        return Decoder(self)

    def check_size(self, size: int) -> int:
        """Return *size*, which a peer announced, if it is a payload's within ``max_size``.

        Raises:
            MessageTooLargeError: It is larger.
        """
        if size > self.max_size:
            raise MessageTooLargeError(
                f"expected a payload of at most {self.max_size} bytes (max_size), not {size}",
                size=size,
                limit=self.max_size,
            )
        return size

    # What makes it a value

    def _options(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return self._options() == other._options()

    def __hash__(self) -> int:
        return hash((type(self), *self._options().values()))

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self._options().items())
        return f"{type(self).__name__}({options})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(
            f"a framer is immutable: make another {type(self).__name__}"
            f" (and in its __init__, give options to super().__init__({name}=...))"
        )

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a framer is immutable: make another {type(self).__name__}")


def check_is_framer(framer: object) -> None:
    """Raise a ``TypeError`` if *framer* is no framer."""
    if not isinstance(framer, Framer):
        is_class = isinstance(framer, type) and issubclass(framer, Framer)
        example = f"{framer.__name__}()" if is_class else "LineFramer()"  # type: ignore[attr-defined]
        raise TypeError(f"expected a framer, such as {example}, not {framer!r}")


def _depth(cls: type, name: str) -> int:
    """Return how many classes are asked for *name* before one has it."""
    return next(i for i, each in enumerate(cls.__mro__) if name in vars(each))


def check_limit(name: str, limit: int) -> int:
    """Return *limit*, which the user gave as *name*, if it is a number of bytes."""
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise TypeError(f"{name} is a number of bytes, not {limit!r}")
    if limit < 0:
        raise ValueError(f"{name} is a number of bytes, 0 or more, not {limit}")
    return limit


def payload_view(message: Buffer, max_size: int) -> bytes | memoryview:
    """Return the bytes of *message*, one by one and not copied, if they are within *max_size*.

    Raises:
        EncodeError: They are more.
        TypeError: *message* is not made of bytes.
    """
    payload: bytes | memoryview
    if isinstance(message, bytes):
        payload = message
    else:
        try:
            view = memoryview(message)
        except TypeError:
            kind = type(message).__name__
            advice = ": encode the text first" if kind == "str" else ""
            raise TypeError(
                f"expected bytes, bytearray or memoryview, not {kind}{advice}"
            ) from None
        try:
            payload = view.cast("B")
        except TypeError:  # views with gaps, or of nothing, cannot be cast
            payload = view.tobytes()
    if len(payload) > max_size:
        raise EncodeError(
            f"expected a payload of at most {max_size} bytes (max_size), not {len(payload)}"
        )
    return payload
