r"""Messages of any type: two functions around another format.

    object  -- encode -->  payload  -- the format inside -->  bytes on the wire
    object  <-- decode --  payload  <-- the format inside --  bytes on the wire

The format inside finds the boundaries, so a payload that cannot be decoded costs one message and
not the stream.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import BadMessageError, EncodeError, is_from_signal_handler
from ..framer import Framer, check_is_framer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..buffer import Buffer
    from ..requests import Steps

M = TypeVar("M")
P = TypeVar("P")

# So few good messages before a bad one are faster read one by one.
_FEW = 16


class CodecFramer(Framer[M]):
    r"""Objects, turned into the messages of another format and back by two functions.

    For msgspec, pydantic, Protocol Buffers, MessagePack or compression, for example::

        CodecFramer(LengthPrefixFramer(), msgspec.json.encode, msgspec.json.Decoder(User).decode)
        CodecFramer(VarintFramer(), User.SerializeToString, User.FromString)
        CodecFramer(LineFramer(), User.model_dump_json, User.model_validate_json)

    Args:
        framer: The format inside.  Its ``max_size`` and ``oversize`` apply to the encoded
            messages.
        encode: Returns a message of *framer* for an object.
        decode: Returns the object for a message of *framer*; never ``None``.  It may be called
            again for the same message, and before you take the messages in front of it, so it
            must depend on its argument only and change nothing.  If the peer is untrusted, it
            must limit what it builds: a few compressed bytes can stand for gigabytes.

    Raises:
        TypeError: *framer* is not a framer, or one of the others is not callable.

    Two of these framers are equal if they have equal framers and the same functions.

    >>> from framing import CodecFramer, LineFramer
    >>> framer = CodecFramer(LineFramer(), str, int)
    >>> framer.encode(42)
    b'42\n'
    >>> list(framer.decoder().feed(b"1\n2\n"))
    [1, 2]
    """

    framer: Framer[Any]
    _encode: Callable[[M], Any]
    _decode: Callable[[Any], M]

    def __init__(
        self, framer: Framer[P], encode: Callable[[M], P], decode: Callable[[P], M]
    ) -> None:
        check_is_framer(framer)
        for name, function in (("encode", encode), ("decode", decode)):
            if not callable(function):
                raise TypeError(f"{name} is a function, not {function!r:.200}")
        super().__init__(max_size=framer.max_size, framer=framer, _encode=encode, _decode=decode)

    def _options(self) -> dict[str, Any]:
        return {"framer": self.framer, "encode": self._encode, "decode": self._decode}

    def encode_parts(self, message: M) -> Sequence[Buffer]:
        """Return the pieces of the format inside, for what ``encode(message)`` returns.

        Raises:
            EncodeError: ``encode`` raised an exception, which is the ``__cause__``; or the
                format inside cannot carry its result.
            TypeError: ``encode`` raised it, or its result is not a message of the format inside.
        """
        try:
            payload = self._encode(message)
        except Exception as error:
            if isinstance(error, (EncodeError, TypeError)) or is_from_signal_handler(error):
                raise
            raise EncodeError(
                f"{type(self).__name__} cannot encode this message: {_text_of(error)}"
            ) from error
        return self.framer.encode_parts(payload)

    def read_message(self) -> Steps[M]:
        """Read a message of the format inside, and decode it.

        Raises:
            BadMessageError: ``decode`` raised an exception, which is the ``__cause__``; or it
                returned ``None``.
        """
        payload = yield from self.framer.read_message()
        try:
            message = self._decode(payload)
        except Exception as error:
            if is_from_signal_handler(error):
                raise
            raise BadMessageError(
                f"{type(self).__name__} cannot decode this message: {_text_of(error)}"
            ) from error
        if message is None:
            raise BadMessageError(
                f"{type(self).__name__} cannot use None as a message: decode returned it"
            )
        return message

    def split_block(self, data: bytes, start: int, stop: int) -> tuple[Iterator[M], int, int]:
        """Split a block, and decode its messages: see :attr:`Framer.split_block`."""
        split = self.framer.split_block
        if split is None:
            return iter(()), start, 0
        payloads, end, missing = split(data, start, stop)
        decode = self._decode
        messages: list[M] = []
        try:
            for payload in payloads:
                message = decode(payload)
                if message is None:
                    break
                messages.append(message)
            else:
                return iter(messages), end, missing
        except Exception as error:
            if is_from_signal_handler(error):
                raise
        # One is bad, and read_message will say why.  Before it come those that are good.
        if len(messages) < _FEW:
            return iter(()), start, 0

        def count(stop: int) -> int:
            return len(list(split(data, start, stop)[0]))

        places = range(start, stop)
        last = places[bisect_right(places, len(messages), key=count) - 1]
        return iter(messages[: count(last)]), split(data, start, last)[1], 0


def _text_of(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
