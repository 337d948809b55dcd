"""One direction of one socket: who may use it, and whether it can still be trusted.

One call at a time has the turn.  A call that is interrupted by an exception out of a signal handler
while it moves bytes cannot know what happened to them, so it leaves a *refusal* behind: every
later call in that direction raises it.  A stream is then never misread, only given up.  Waiting
for bytes is not such a moment: a call that is interrupted while it waits can be made again.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
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
        free: Holds one token if nobody has the turn, and none if there is a refusal.
        in_doubt: The refusal that an interruption leaves behind.
        refusal: What every later call raises unless the one that has the turn changes it, the
            class of the error and its text; ``None`` if there is nothing to refuse.
        is_refused: Whether that one has ended, and left a refusal behind.
        waiting: The threads that wait for their turn.
    """

    __slots__ = ("free", "in_doubt", "is_refused", "refusal", "waiting")

    def __init__(self, advice: str) -> None:
        self.free = [True]
        self.in_doubt: tuple[type[Exception], str] = ConnectionError, advice
        self.refusal: tuple[type[Exception], str] | None = None
        self.is_refused = False
        self.waiting: list[threading.Event] = []

    @property
    def is_taken(self) -> bool:
        """Whether a call has the turn now."""
        return not self.free

    def check(self) -> None:
        """Raise the refusal, if there is one."""
        if self.refusal is not None:
            kind, text = self.refusal
            raise kind(text)

    def run(self, deadline: Deadline, function: Callable[..., R], *args: object) -> R:
        """Return ``function(*args)``, once no other call has the turn.

        A call that returns normally is not in doubt.

        Raises:
            TimeoutError: Another thread has had the turn for too long.
            RuntimeError: This thread has it already: a signal handler interrupted a call.
        """
        token = False
        try:
            while not token:
                try:
                    # The token is taken and stored in one step for a signal handler.
                    for token in map(self.free.pop, (-1,)):  # noqa: B007
                        break
                except IndexError:
                    self._wait(deadline)
            self.check()
            result = function(*args)
            if self.refusal is self.in_doubt:
                self.refusal = None
            return result
        finally:
            if token:
                self.give()

    def move(self, function: Callable[..., R], *args: object) -> R:
        """Return ``function(*args)``, which receives or sends, and leave the turn in doubt.

        Set :attr:`refusal` to what it was before once the result is kept.  If the call raises,
        and it is known that it moved no byte, that has been done.
        """
        result: Any = self
        before, self.refusal = self.refusal, self.in_doubt
        try:
            # Stored in the step that calls.  So if a C function is interrupted while it waits,
            # and raises, it is known to have moved nothing.
            for result in map(function, *zip(args)):  # noqa: B007, B905
                break
        except BaseException as error:
            is_c = isinstance(function, BuiltinFunctionType)
            if result is self and (is_c or is_own(error)):
                self.refusal = before
            raise
        return result  # type: ignore[no-any-return]

    def give(self) -> None:
        """Let the next call have the turn, or be refused."""
        self.is_refused = self.refusal is not None
        if not self.is_refused:
            self.free.append(True)
        if self.waiting:
            self.wake()

    def refuse(self) -> None:
        """Let no call have the turn any more, after an interruption at an unknown place."""
        self.refusal, self.is_refused = self.in_doubt, True
        self.free.clear()

    def wake(self) -> None:
        """Wake the thread that has waited longest."""
        with suppress(IndexError):
            self.waiting[0].set()

    def _wait(self, deadline: Deadline) -> None:
        """Wait until the turn may be free."""
        if self.is_refused:
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


def is_own(error: BaseException) -> bool:
    """Return whether *error* is one of a socket's or a file's own."""
    return isinstance(error, OSError) and not is_from_signal_handler(error)


def _is_below(turn: Turn) -> bool:
    """Return whether this thread is inside a call that has *turn*.

    Such a call is a frame with *turn* in a variable of that name, or one of :meth:`Turn.run`,
    below the call that wants it.  (To note the thread of each call would slow the fastest ones.)
    """
    frame: FrameType | None = sys._getframe(3)  # behind _wait() and run()
    while frame is not None and frame.f_locals.get("turn") is turn:
        frame = frame.f_back  # the call that wants it
    while frame is not None:
        name = "self" if frame.f_code is Turn.run.__code__ else "turn"
        if frame.f_locals.get(name) is turn:
            return True
        frame = frame.f_back
    return False
