"""How a server logs the end of a connection.

    INFO      a client was lost: it disconnected, was too slow, or failed at TLS; one line
    WARNING   a client sent bad data, or disconnected inside a message; one line
    ERROR     the handler raised something else; with its traceback

Text that a client sent is escaped and shortened before it reaches the log, in tracebacks too.
"""

from __future__ import annotations

import traceback
from logging import Logger, LogRecord, getLogger

from ..errors import DecodeError, FramingError, IncompleteMessageError, shortened

_PACKAGE = __name__.removesuffix("sockets.reports")  # whatever a copy of it is called


def open_log(name: str) -> Logger:
    """Return the logger *name*, whose tracebacks are escaped."""
    logger = getLogger(name)
    logger.addFilter(_escape_traceback)
    return logger


def report(logger: Logger, client: str, error: BaseException, *sources: object) -> None:
    """Log that *error* has ended the connection of *client*.

    Args:
        logger: Where to.
        client: Its address.
        error: What the handler raised.
        sources: The objects that the connection is made of.  An error that did not come out of
            them is the handler's own: another server that it uses is down, say.
    """
    if not isinstance(error, (OSError, FramingError)) or not _came_out_of(error, sources):
        logger.error("the handler failed for %s", client, exc_info=error)
    elif isinstance(error, (DecodeError, IncompleteMessageError)):
        logger.warning("%s sent bad data: %s", client, printable(str(error)))
    else:
        logger.info("%s disconnected: %s", client, printable(str(error)))


def name_of(address: object) -> str:
    """Return the address of a client as people write it."""
    if not isinstance(address, tuple):
        return "a local client"  # of a Unix socket
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def printable(text: str) -> str:
    """Return *text* in one line of at most 500 characters, or a little more if some are escaped."""
    escape = (each if each.isprintable() else ascii(each)[1:-1] for each in shortened(text, 500))
    return "".join(escape)


def _came_out_of(error: BaseException, sources: tuple[object, ...]) -> bool:
    """Return whether *error* passed a function of this package that was using one of *sources*."""
    _, *frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]  # not the server's
    ours = [each for each in frames if each.f_globals["__name__"].startswith(_PACKAGE)]
    values = [value for frame in ours for value in frame.f_locals.values()]
    return any(value is each for value in values for each in sources)


def _escape_traceback(record: LogRecord) -> bool:
    """Make the text of the traceback, which formatters then use, and let the record pass.

    Every line is indented, so none can be taken for a record of its own.
    """
    if record.exc_info and not record.exc_text:
        lines = "".join(traceback.format_exception(*record.exc_info)).splitlines()
        record.exc_text = "\n".join(f"    {printable(line)}" for line in lines[:200])
    return True
