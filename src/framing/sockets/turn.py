"""One direction of one socket: who may use it, and whether it can still be trusted.

One call at a time has the turn.  While a call moves bytes it says so (``is_moving``).  If it is
then interrupted by an exception out of a signal handler, the fate of the bytes is unknown,
so it leaves a *refusal* behind: every later call in that direction raises it.  A stream is then
never misread, only given up.  Waiting for bytes is different: a call that is interrupted while it
waits can be made again.
"""

from __future__ import annotations

import sys
import threading
from operator import methodcaller
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import is_from_signal_handler

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from .channel import Deadline

R = TypeVar("R")

# Waiting threads look again after so many seconds, in case an interrupted call did not wake them.
_SLICE = 0.5


class Turn:
    """The right to use one direction of a socket.

    It is a token in a list: to take an item out of a list is one step for other threads and for
    signal handlers, and takes less time than a lock, with or without a GIL.

    Args:
        advice: What to say after an interruption.

    Attributes:
        free: Holds one token if no call has the turn, and none if there is a refusal.  A short
            path takes it first in a ``try``, so that an exception says whether it was taken,
            and puts it back behind that, so that it is put back once.
        is_moving: Whether the call that has the turn is moving bytes.
        refusal: What every call raises from now on, the class of the error and its text;
            ``None`` if there is nothing to refuse.
        waiting: The threads that wait for their turn.
    """

    __slots__ = ("_advice", "free", "is_moving", "refusal", "waiting")

    def __init__(self, advice: str) -> None:
        self.free: list[bool] = [True]
        self.is_moving: bool = False
        self._advice = advice
        self.refusal: tuple[type[Exception], str] | None = None
        self.waiting: list[threading.Event] = []

    def check(self) -> None:
        """Raise the refusal, if there is one."""
        if self.refusal is not None:
            kind, text = self.refusal
            raise kind(text)

    def run(self, deadline: Deadline, function: Callable[..., R], *args: object) -> R:
        """Return ``function(*args)``, once no other call has the turn.

        A call that returns normally has finished moving.

        Raises:
            TimeoutError: Another thread has had the turn for too long.
            RuntimeError: This thread has it already: a signal handler interrupted a call.
        """
        token = False
        try:
            while not token:
                try:
                    # The token is taken and stored in one step for a signal handler.
                    (token,) = map(self.free.pop, (-1,))
                    holding = self  # noqa: F841  # see _is_below
                except IndexError:  # noqa: PERF203  # rare
                    self._wait(deadline)
            self.check()
            result = function(*args)
            self.is_moving = False
            return result
        finally:
            # No call and no jump before the token is back: there a signal handler could lose it.
            # (CPython 3.10 runs handlers at jumps too, also at those of a condition.)
            if token and not self.is_moving and self.refusal is None:
                self.free.append(True)
                if self.waiting:
                    self.wake()
            elif token:
                self.give()

    def move(self, function: Callable[..., R], *args: object) -> R:
        """Return ``function(*args)``, which receives or sends, and leave :attr:`is_moving` set.

        Set it to false once the result is kept.  It is false if the call raises, and is known
        to have moved nothing.
        """
        result: Any = self
        self.is_moving = True
        try:
            # Stored in the step that calls.  So if a C function is interrupted while it waits,
            # and raises, it is known to have moved nothing.
            (result,) = map(function, *zip(args))
        except BaseException as error:
            is_c = isinstance(function, BuiltinFunctionType)
            if result is self and (is_c or is_own(error)):
                self.is_moving = False
            raise
        return result  # type: ignore[no-any-return]

    def give(self) -> None:
        """End a call: let the next one have the turn, or be refused if this one was interrupted."""
        if self.is_moving:
            self.refuse()
        elif self.refusal is None:
            self.free.append(True)
        if self.waiting:
            self.wake()

    def refuse(self) -> None:
        """Refuse all calls from now on, since a call was interrupted."""
        self.refusal, self.is_moving = (ConnectionError, self._advice), False
        self.free.clear()

    def wake(self) -> None:
        """Wake the thread that has waited longest."""
        for event in self.waiting[:1]:
            event.set()

    def _wait(self, deadline: Deadline) -> None:
        """Wait until the turn may be free."""
        self.check()
        if _is_below(self):
            raise RuntimeError(
                "a signal handler used a connection while the call that it interrupted was using"
                " it: set a flag in the handler, and act on it outside"
            )
        remaining = deadline.remaining()
        if remaining is not None and not remaining:
            raise deadline.expired("another thread is using the connection")
        event = threading.Event()
        self.waiting.append(event)
        try:
            if not self.free:
                event.wait(_SLICE if remaining is None else min(remaining, _SLICE))
        finally:
            self.waiting.remove(event)


def receiver(size: int) -> Any:
    """Return an object of which ``[sock]`` is ``sock.recv(size)``.

    Python runs signal handlers after a call, and not after this.  So if a handler raises, either
    nothing was received or the bytes are stored.
    """
    return type("Receiver", (), {"__getitem__": methodcaller("recv", size)})()


def is_own(error: BaseException) -> bool:
    """Return whether *error* is one of a socket's or a file's own."""
    return isinstance(error, OSError) and not is_from_signal_handler(error)


def _is_below(turn: Turn) -> bool:
    """Return whether this thread is inside a call that has *turn*.

    Such a call has it in a variable called ``holding``.  (To note the thread of each call would
    slow the fastest ones.)
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_locals.get("holding") is turn:
            return True
        frame = frame.f_back
    return False
