r"""What a wire format is, and how to write one.

A **framer** says what one message looks like on the wire; a **decoder** reads a stream of them.
To write a format of your own, subclass :class:`Framer` and write two methods, one for each
direction.  Netstrings (``5:hello,``), in full::

    class Netstrings(Framer[bytes]):
        def __init__(self, *, max_size: int = 1024 * 1024) -> None:
            super().__init__(max_size=max_size)

        def encode_parts(self, message: bytes) -> list[bytes]:
            if len(message) > self.max_size:
                raise EncodeError(f"expected at most {self.max_size} bytes")
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

``read_message`` is a generator that reads one message.  It asks for bytes, is sent them once all
of them have arrived, and never sees how the stream was cut.  The decoder takes care of everything
else: buffering, the end of the stream, the offset in errors, ``unread`` and ``bytes_needed``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .decoder import Decoder
from .errors import DecodeError, EncodeError, IncompleteMessageError, MessageTooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import NoReturn

    from .buffer import Buffer
    from .requests import Steps

M = TypeVar("M")


class Framer(ABC, Generic[M]):
    r"""A wire format: what messages of type ``M`` look like in a stream of bytes.

    A framer is an immutable value.  It compares equal to another one of the same class with the
    same options, can be hashed and pickled, and can be shared between threads and connections.
    Its public attributes are the options that it was made with.

    To write a format of your own, say how a message is written and how one is read.  The decoder
    does the rest.  For example, messages behind a length of three bytes, which ``struct`` does
    not have:

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
        max_size: The largest payload, in bytes, to send or to receive.
        options: The other options of this framer, to be kept as attributes.  A name that begins
            with an underscore is kept, but not compared.

    Raises:
        ValueError: *max_size* is negative.
    """

    max_size: int

    # The optional fast path of a built-in format.  split_block(data, start, stop) returns the
    # messages in data[start:stop] up to one that is cut or bad, where they end, and how many
    # bytes the next one lacks: 0 if that is not known, or if read_message has to look at it.
    # The iterator's length_hint is 0 after the last message, and 1 only before the last one.
    split_block: Callable[..., tuple[Iterator[Any], int, int]] | None = None

    def __init__(self, *, max_size: int, **options: object) -> None:
        check_limit("max_size", max_size)
        vars(self).update(options, max_size=max_size)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # A subclass with a read_message of its own must not inherit the fast path of another one.
        owner = next(each for each in cls.__mro__ if "read_message" in vars(each))
        if "split_block" not in vars(owner):
            cls.split_block = None

    # What a format defines

    @abstractmethod
    def encode_parts(self, message: M) -> Sequence[Buffer]:
        """Return the wire bytes of *message* in pieces, so that a large payload is not copied.

        Raises:
            EncodeError: The format cannot carry *message*.
            TypeError: *message* is not of the type that the format carries.
        """

    @abstractmethod
    def read_message(self) -> Steps[M]:
        """Read one message: yield requests, be sent bytes, return the message.

        The decoder may begin it again for the same bytes, so keep all state in local variables.
        The message must not be ``None``, and must have at least one byte.

        Raises:
            DecodeError: The bytes break the format.  (Any other exception becomes one.)
            BadMessageError: This message is bad, but has been read to its end, so that the next
                one can be read.
        """

    # What every format then has

    def encode(self, message: M) -> bytes:
        """Return the wire bytes of *message*.

        Raises:
            EncodeError: The format cannot carry *message*.
            TypeError: *message* is not of the type that the format carries.
        """
        parts = self.encode_parts(message)
        try:
            return b"".join(parts)
        except TypeError as error:
            raise TypeError(
                f"expected {self!r}.encode_parts() to return bytes in a list or a tuple: {error}"
            ) from None

    def decode(self, data: Buffer) -> M:
        r"""Return the one message that *data* holds, for example a datagram.

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
                f"expected one message, but {len(rest)} bytes follow its {size}", offset=size
            )
        raise IncompleteMessageError("expected one message, but got no bytes")

    def decoder(self) -> Decoder[M]:
        """Return a new decoder for one stream of messages in this format."""
        return Decoder(self)

    def check_size(self, size: int) -> int:
        """Return *size*, the payload size that a peer announced, if it is within ``max_size``.

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
        if not isinstance(other, Framer) or type(self) is not type(other):
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
            f" (and in its __init__, pass options to super().__init__({name}=...))"
        )

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a framer is immutable: make another {type(self).__name__}")


def check_is_framer(framer: object) -> None:
    """Raise a ``TypeError`` unless *framer* is a framer."""
    if not isinstance(framer, Framer):
        is_class = isinstance(framer, type) and issubclass(framer, Framer)
        example = f"{framer.__name__}()" if is_class else "LineFramer()"  # type: ignore[attr-defined]
        raise TypeError(f"expected a framer, such as {example}, not {framer!r:.200}")


def check_limit(name: str, limit: int) -> int:
    """Return *limit*, the user's option *name*, if it is a number of bytes."""
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise TypeError(f"{name} is a number of bytes, not {limit!r}")
    if limit < 0:
        raise ValueError(f"{name} is a number of bytes, 0 or more, not {limit}")
    return limit


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    """Return *value*, the user's option *name*, if it is one of *choices*."""
    if value not in choices:
        raise ValueError(f"{name} is {' or '.join(map(repr, choices))}, not {value!r}")
    return value


def payload_view(message: Buffer, max_size: int) -> bytes | memoryview:
    """Return the bytes of *message*, not copied, if they are within *max_size*.

    Raises:
        EncodeError: There are more.
        TypeError: *message* is not made of bytes.
    """
    payload: bytes | memoryview
    if isinstance(message, bytes):
        payload = message
    else:
        try:
            view = memoryview(message)
        except TypeError:
            advice = _ADVICE.get(type(message).__name__, "")
            raise TypeError(
                f"expected bytes, bytearray or memoryview, not {type(message).__name__}{advice}"
            ) from None
        try:
            payload = view.cast("B")
        except TypeError:  # a view with gaps, or of nothing, cannot be cast
            payload = view.tobytes()
    if len(payload) > max_size:
        raise EncodeError(
            f"expected a payload of at most {max_size} bytes (max_size), not {len(payload)}:"
            " raise max_size on both sides, or use framing.files.send_file for a file"
        )
    return payload


_ADVICE = {
    "str": ": encode it, as in text.encode(), or use framer=LineFramer()",
    "dict": ": use framer=JsonFramer(), or json.dumps(message).encode()",
    "list": ": use framer=JsonFramer(), or json.dumps(message).encode()",
    "int": ": use framer=StructFramer('!I'), or str(number).encode()",
    "tuple": ": use framer=StructFramer(...) or framer=JsonFramer()",
    "socket": ": the socket comes first, as in send_msg(sock, message)",
    "SSLSocket": ": the socket comes first, as in send_msg(sock, message)",
}
