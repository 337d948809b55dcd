"""``ContentLengthFramer`` against a language server."""

from __future__ import annotations

import subprocess
import sys
from typing import IO, Any

import pytest

from framing import ContentLengthFramer, Decoder, JsonFramer

pytest.importorskip("pylsp")

FRAMER = JsonFramer(ContentLengthFramer())


def test_a_language_server_answers() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "pylsp"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as server:
        stdin, stdout, decoder = server.stdin, server.stdout, FRAMER.decoder()
        assert stdin is not None
        assert stdout is not None
        params: dict[str, object] = {"processId": None, "rootUri": None, "capabilities": {}}
        tell(stdin, id=1, method="initialize", params=params)
        assert answer(stdout, decoder, 1)["serverInfo"]["name"] == "pylsp"
        tell(stdin, id="zwölf", method="shutdown", params=None)
        assert answer(stdout, decoder, "zwölf") is None
        tell(stdin, method="exit", params=None)
        stdin.close()
        assert server.wait(60) == 0
        decoder.feed(stdout.read()).feed_eof()
        assert list(decoder) == []


def tell(stdin: IO[bytes], **members: object) -> None:
    stdin.write(FRAMER.encode({"jsonrpc": "2.0", **members}))
    stdin.flush()


def answer(stdout: IO[bytes], decoder: Decoder[Any], id: object) -> Any:
    while True:
        for message in decoder:
            if message.get("id") == id:
                return message["result"]
        decoder.feed(stdout.read(decoder.bytes_needed))
