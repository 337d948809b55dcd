"""Mixed load between processes for minutes: nothing lost, doubled or changed, and nothing grows.

    python -m tests.soak --minutes 10

A server process serves every format over threads and asyncio, plain and with TLS.  Client
processes hold one short conversation with it after another, of a random kind in a random format:
with timeouts in the middle of messages, resets, cancelled tasks, and files.  Memory and
descriptors of all processes are measured meanwhile (on Linux), and compared at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import logging
import multiprocessing
import os
import random
import ssl
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any, TypeAlias

import trustme

from framing import (
    CodecFramer,
    HeaderBodyFramer,
    LineFramer,
    MessageSocket,
    aio,
    connect,
    recv_msg,
    send_msg,
    serve,
)
from framing.files import recv_file, send_file

from . import strategies
from .pairs import MIB, reset, retried
from .strategies import Format, samples

BOUND = 60  # seconds for what should take none
THREADS = 3  # that talk, in each client process
ANY_PORT = ("127.0.0.1", 0)
FORMATS = [each for each in strategies.FORMATS if samples(each)]
MESSAGES = list(map(samples, FORMATS))


def with_large(format: Format[Any], messages: list[Any]) -> list[Any]:
    """Add 300 kB, but to formats of few bytes, and those that a function limits."""
    is_small = format.framer.max_size < MIB // 3 or type(format.framer) is CodecFramer
    can_be_large = isinstance(messages[0], (bytes, str)) and not is_small
    return [*messages, messages[0] * 60_000] if can_be_large else messages


LARGE = list(map(with_large, FORMATS, MESSAGES))

Ports: TypeAlias = "dict[tuple[str, bool], int]"  # of threads or asyncio, without and with TLS


# The server.  A client's first line says what it wants: the number of a format, or a file.


def handle(lines: MessageSocket[str]) -> None:
    wanted = lines.recv()
    if wanted == "file":
        with tempfile.TemporaryDirectory() as folder:
            files = lines.switch(HeaderBodyFramer())
            send_file(files, recv_file(files, folder), checksum=True)
    else:
        conn = lines.switch(FORMATS[int(wanted)].framer)
        for message in conn:
            conn.send(message)


async def handle_task(lines: aio.MessageStream[str]) -> None:
    conn = lines.switch(FORMATS[int(await lines.recv())].framer)
    async for message in conn:
        await conn.send(message)


class Failures(logging.StreamHandler[Any]):
    """Prints and counts what a server logs as bad data, or as its own fault."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += record.levelno >= logging.WARNING
        super().emit(record)


def serve_all(control: Connection, authority: Path) -> None:
    """Serve until *control* has something to say, and report what went wrong."""
    failures = Failures()
    logging.getLogger("framing").addHandler(failures)
    ca, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    ca.cert_pem.write_to_path(str(authority))

    async def main() -> None:
        ports: Ports = {}
        async with AsyncExitStack() as stack:
            for tls in (None, context):
                tasks = await aio.serve(handle_task, ANY_PORT, LineFramer(), ssl=tls)
                await stack.enter_async_context(tasks)
                threads = serve(handle, ANY_PORT, LineFramer(), timeout=BOUND, ssl=tls)
                stack.enter_context(threads)
                Thread(target=threads.serve_forever, daemon=True).start()
                ports["asyncio", tls is not None] = tasks.address[1]
                ports["threads", tls is not None] = threads.address[1]
            control.send(ports)
            await asyncio.get_running_loop().run_in_executor(None, control.recv)

    asyncio.run(main())
    control.send(failures.count)


# The clients


class Client:
    """One after another of the conversations below, each with a new connection.

    Attributes:
        counts: How many conversations of each kind there were, and how many messages.
    """

    def __init__(self, seed: int, authority: Path, ports: Ports) -> None:
        self._chance = random.Random(seed)
        self._ports = ports
        self._context = ssl.create_default_context(cafile=str(authority))
        self.counts: Counter[str] = Counter()

    def talk_until(self, end: float) -> Counter[str]:
        kinds = [self.echo, self.echo, self.echo_tasks, self.functions, self.file]
        while time.monotonic() < end:
            kind = self._chance.choice(kinds)
            kind()
            self.counts[kind.__name__] += 1
        return self.counts

    def _server(self, *loops: str) -> tuple[tuple[str, int], ssl.SSLContext | None]:
        key = self._chance.choice(loops or ("threads", "asyncio")), self._chance.random() < 0.4
        return ("127.0.0.1", self._ports[key]), self._context if key[1] else None

    def _messages(self, kinds: list[list[Any]]) -> tuple[int, list[Any], list[Any]]:
        """Return the number of a format, messages to send, and what has to come back."""
        number = self._chance.randrange(len(FORMATS))
        messages = self._chance.choices(kinds[number], k=self._chance.randrange(1, 100))
        self.counts["messages"] += len(messages)
        return number, messages, list(map(FORMATS[number].received, messages))

    def _patience(self) -> float | None:
        return self._chance.choice([0, 0.0005, 0.01, None])

    def echo(self) -> None:
        """Send in one thread and receive in another, with timeouts everywhere."""
        number, messages, expected = self._messages(LARGE)
        address, context = self._server()

        def send() -> None:
            for message in messages:
                retried(partial(conn.send, message, timeout=patience))
            conn.flush()

        with connect(address, LineFramer(), timeout=BOUND, ssl=context) as lines:
            lines.send(str(number))
            conn, patience = lines.switch(FORMATS[number].framer), self._patience()
            with ThreadPoolExecutor(1) as executor:
                sending = executor.submit(send)
                got = [retried(partial(conn.recv, timeout=self._patience())) for _ in messages]
                sending.result(BOUND)
            if context is None:
                conn.end()
                got += conn
            conn.close()
        assert got == expected, FORMATS[number]

    def echo_tasks(self) -> None:
        """The same in tasks, whose calls are cancelled."""
        number, messages, expected = self._messages(LARGE)
        address, context = self._server()

        async def main() -> list[Any]:
            async with await aio.connect(address, LineFramer(), ssl=context) as lines:
                await lines.send(str(number))
                async with lines.switch(FORMATS[number].framer) as conn:
                    sending = asyncio.ensure_future(conn.send_many(messages))
                    got: list[Any] = []
                    while len(got) < len(messages):
                        try:
                            got.append(await asyncio.wait_for(conn.recv(), self._patience()))
                        except asyncio.TimeoutError:
                            self.counts["cancelled"] += 1
                    await sending
                    return got

        assert asyncio.run(asyncio.wait_for(main(), BOUND)) == expected, FORMATS[number]

    def functions(self) -> None:
        """Use ``send_msg`` and ``recv_msg``, and end the connection with a reset."""
        number, messages, expected = self._messages(MESSAGES)
        address, context = self._server()
        framer, wanted = FORMATS[number].framer, self._chance.randrange(len(messages) + 1)
        with connect(address, LineFramer(), timeout=BOUND, ssl=context) as lines:
            sock, _ = lines.detach()
        try:
            send_msg(sock, str(number), framer=LineFramer())
            for message, answer in zip(messages[:wanted], expected, strict=False):
                send_msg(sock, message, framer=framer)
                assert recv_msg(sock, framer=framer) == answer, framer
            for message in messages[wanted : wanted + 3]:  # whose answers are lost
                send_msg(sock, message, framer=framer)
        finally:
            reset(sock)

    def file(self) -> None:
        """Send a file there and back."""
        data = self._chance.randbytes(self._chance.choice([0, 1, 5000, 300_000, 3_000_000]))
        address, context = self._server("threads")
        with (
            tempfile.TemporaryDirectory() as folder,
            connect(address, LineFramer(), timeout=BOUND, ssl=context) as lines,
        ):
            lines.send("file")
            files = lines.switch(HeaderBodyFramer())
            send_file(files, io.BytesIO(data), name="data", checksum=True)
            assert recv_file(files, folder).read_bytes() == data
            files.close()


def talk(control: Connection, seed: int, authority: Path, ports: Ports, seconds: float) -> None:
    """Be one client process, and report the counts."""
    end = time.monotonic() + seconds
    clients = [Client(seed * THREADS + i, authority, ports) for i in range(THREADS)]
    descriptors = usage(os.getpid())[1]
    with ThreadPoolExecutor(THREADS) as executor:
        counts = list(executor.map(lambda client: client.talk_until(end), clients))
    assert usage(os.getpid())[1] == descriptors, "descriptors are left open"
    control.send(sum(counts, Counter()))
    control.recv()


# The measuring


def usage(pid: int) -> tuple[float, int]:
    """Return the memory of a process, in MiB, and how many descriptors it has open."""
    if not Path("/proc/self/statm").exists():
        return 0, 0
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB, len(os.listdir(f"/proc/{pid}/fd"))


class Measured:
    """A process that runs *function*, and what it uses meanwhile."""

    def __init__(self, name: str, function: Callable[..., None], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = name
        self.control, theirs = context.Pipe()
        self._process = context.Process(target=function, args=(theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()  # so that its end is noticed
        self._memory: list[float] = []
        self.descriptors: list[int] = []

    def measure(self) -> None:
        memory, descriptors = usage(self._process.pid or 0)
        self._memory.append(memory)
        self.descriptors.append(descriptors)

    def end(self) -> Any:
        """Let it end, and return what it reports."""
        self.control.send("end")
        report = self.control.recv()  # EOFError: it has failed
        self._process.join(BOUND)
        assert self._process.exitcode == 0, self.name
        return report

    def check(self) -> None:
        """Compare the second quarter, in which everything is loaded, with the last."""
        quarter = len(self._memory) // 4
        early = median(self._memory[quarter : 2 * quarter])
        late = median(self._memory[-quarter:])
        print(
            f"{self.name}: {early:.1f} MiB, in the end {late:.1f} MiB;"
            f" {max(self.descriptors)} descriptors at most, in the end {self.descriptors[-1]}"
        )
        assert late < early + 32, "memory grows"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=0.4)
    parser.add_argument("--clients", type=int, default=2, help="how many processes")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"{options.minutes} minutes with --seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        authority = Path(folder) / "authority.pem"
        server = Measured("server", serve_all, authority)
        ports = server.control.recv()
        server.measure()
        arguments = authority, ports, options.minutes * 60
        clients = [
            Measured(f"client {i}", talk, options.seed + i, *arguments)
            for i in range(options.clients)
        ]
        processes = [server, *clients]
        end = time.monotonic() + options.minutes * 60
        while not all(each.control.poll() for each in clients):
            assert time.monotonic() < end + 5 * BOUND, "a client waits for what never comes"
            time.sleep(0.25)
            for each in processes:
                each.measure()
        counts = sum((each.end() for each in clients), Counter[str]())
        deadline = time.monotonic() + 15  # in which the server notices the last resets
        while server.descriptors[-1] > server.descriptors[0] and time.monotonic() < deadline:
            time.sleep(0.25)
            server.measure()
        assert server.descriptors[-1] == server.descriptors[0], "descriptors are left open"
        assert server.end() == 0, "the server has failed"
    print(", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    for each in processes:
        each.check()
    print("nothing was lost, doubled or changed, and nothing grew")


if __name__ == "__main__":
    main()
