"""Every example in the documentation and the docstrings runs, and says what is true."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
import shlex
import shutil
import socket
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import framing
from framing import cli

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
# What is in another language is shown: a reader has its programs, and a test may not.
CHECKED = {"python", "sh"}
SHOWN = {"text", "toml", "erlang", "go", "java", "js", "rust"}
# Commands of other programs, by how they begin.
OTHER_COMMANDS = (
    "HYPOTHESIS_PROFILE=thorough python -m pytest ",
    "TESTED_PACKAGE=acme.wire PYTHONPATH=elsewhere python -m pytest",
    "WITHOUT=MSG_DONTWAIT,poll,sendmsg,sendfile python -m pytest",
    ". .venv/bin/activate",
    ".venv/bin/python -m pip install .",
    ".venv/bin/python -m pip install '.[docs]' && .venv/bin/python -m sphinx docs ",
    ".venv/bin/python -m pip install -e '.[bench]' && .venv/bin/python -m tests.benchmarks",
    "cp -r framing/src/framing ",
    "curl -i http://127.0.0.1:8000/",
    "mkdir files",
    "python capture.py",
    "mypy --strict myapp",
    "mkdir -p elsewhere/acme && cp -r src/framing elsewhere/acme/wire",
    "python -m coverage ",
    "python -m http.server",
    "python -m pip install -e '.[bench]'",
    "python -m pip install -e '.[mutation]'",
    "python -m pip install -e '.[peers]'",
    "python -m pip install atheris",
    "python -m myapp.wire demo",
    "python client.py",
    "python cure.py",
    "python problem.py",
    "python server.py",
    "python3 -m venv ",
)
MODULES = [framing.__name__] + [
    each.name
    for each in pkgutil.iter_modules(framing.__path__, f"{framing.__name__}.")
    if not each.name.endswith("__main__")
]

FORMATS = {"length_prefix", "delimiter", "header_body", "record"}
CORE = {"errors", "buffer", "requests", "decoder", "pieces", "framer", "fields"}
SOCKETS = {"stream_decoder", "sockets", "transport", "outgoing", "streaming"}
LAYERS: dict[str, set[str]] = {
    "errors": set(),
    "buffer": set(),
    "requests": {"errors", "buffer"},
    "decoder": {"errors", "buffer", "requests"},
    "pieces": set(),
    "framer": {"errors", "buffer", "requests", "decoder", "pieces"},
    "fields": {"errors"},
    **dict.fromkeys(FORMATS, CORE),
    "body": {"errors"},
    "stream_decoder": CORE | {"body"},
    "sockets": {"buffer"},
    "transport": {"buffer", "sockets", "stream_decoder"},
    "outgoing": {"buffer", "sockets", "transport"},
    "streaming": {"buffer", "sockets", "transport"},
    "stream": CORE | FORMATS | SOCKETS,
    "message_socket": CORE | FORMATS | SOCKETS | {"stream"},
    "file_names": set(),
    "new_file": set(),
    "files": CORE | FORMATS | SOCKETS | {"stream", "message_socket", "file_names", "new_file"},
    "server": CORE | FORMATS | {"message_socket", "sockets"},
    "datagram": {"errors", "buffer", "sockets"},
    "notation": CORE | FORMATS,
    "terminal": set(),
    "inspection": CORE | FORMATS | {"stream_decoder", "notation"},
    "commands": CORE
    | FORMATS
    | {"stream", "message_socket", "files", "notation", "inspection", "terminal"},
    "demo": CORE | FORMATS | {"stream"},
}


@dataclass(frozen=True)
class Block:
    language: str
    text: str

    @property
    def file(self) -> str:
        """The file that the block is to be saved as, if its first line names one."""
        found = re.match(r"# (\w+\.py)\n", self.text)
        return found[1] if found and self.language == "python" else ""


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    found = re.findall(r"^(`{3,}|:{3,})([^\n`:]*)\n(.*?)^\1$", text, re.DOTALL | re.MULTILINE)
    fences = re.findall(r"^ *(?:`{3,}|:{3,})", text, re.MULTILINE)
    assert len(fences) == 2 * len(found), "a block is indented, nested or not closed"
    return [Block(language, body) for _, language, body in found]


def pages_where(is_meant: Callable[[Block], object]) -> list[Any]:
    pages = [page for page in PAGES if any(map(is_meant, blocks_of(page)))]
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages]


@pytest.mark.parametrize("page", pages_where(bool))
def test_every_block_is_in_a_language_that_is_checked_or_only_shown(page: Path) -> None:
    for block in blocks_of(page):
        assert block.language in CHECKED | SHOWN or block.language.startswith("{"), block


@pytest.mark.parametrize(
    "page", pages_where(lambda block: block.language == "python" and not block.file)
)
def test_python_blocks_run(page: Path) -> None:
    # The blocks of a page are one program, as somebody who follows it would type; but those that
    # name a file are programs of their own: see the next test.
    blocks = [each.text for each in blocks_of(page) if each.language == "python" and not each.file]
    namespace: dict[str, object] = {"__name__": "example"}
    try:
        with warnings.catch_warnings():
            # An example may leave a socket to be closed when its name gets another one.
            warnings.simplefilter("ignore", ResourceWarning)
            exec(compile("\n".join(blocks), str(page), "exec"), namespace)  # noqa: S102
    finally:
        for value in namespace.values():
            if isinstance(value, framing.MessageSocket):
                value.sock.close()
            elif isinstance(value, socket.socket):
                value.close()


@pytest.mark.parametrize("page", pages_where(lambda block: block.file))
def test_programs_print_what_the_page_says(page: Path, tmp_path: Path) -> None:
    """Save the files that the page shows, and run what it says; a text block is what is printed.

    A command with a comment behind it goes on until the next one of those.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    running: list[subprocess.Popen[str]] = []
    printed: list[str] = []
    try:
        for block in blocks_of(page):
            if block.file:
                (tmp_path / block.file).write_text(block.text.replace("9000", port), "utf-8")
            elif block.language == "sh":
                for line in filter(is_run, block.text.splitlines()):
                    if "#" in line:
                        while running:
                            stop(running.pop())
                        running.append(start(line, tmp_path))
                        assert running[-1].stdout is not None
                        assert "listening" in running[-1].stdout.readline()
                    else:
                        printed += start(line, tmp_path).communicate(timeout=20)
            elif block.language == "text" and printed:
                assert "".join(printed).replace(port, "9000") == block.text
                printed = []
        assert not printed, "the page does not say what its last program prints"
    finally:
        for process in running:
            stop(process)


def is_run(line: str) -> bool:
    return line.startswith(("python ", "framing inspect ")) and " -m " not in line


def start(line: str, folder: Path) -> subprocess.Popen[str]:
    program, *arguments = shlex.split(line, comments=True)
    command = ["-m", "framing"] if program == "framing" else []
    return subprocess.Popen(
        [sys.executable, "-X", "utf8", "-u", *command, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def stop(process: subprocess.Popen[Any]) -> None:
    process.kill()
    process.communicate(timeout=20)


@pytest.mark.parametrize("page", pages_where(lambda block: block.language == "sh"))
def test_commands_are_what_the_command_line_takes(page: Path) -> None:
    for block in blocks_of(page):
        if block.language == "sh":
            for line in block.text.splitlines():
                check_command(line)


def check_command(line: str) -> None:
    if line.startswith(OTHER_COMMANDS) or not line:
        return
    words = shlex.split(line, comments=True)
    for sign in "<>|&":
        words = words[: words.index(sign)] if sign in words else words
    program, *arguments = words
    if (ROOT / "docs" / "examples" / arguments[0]).is_file():
        return  # test_examples runs it
    if arguments[0] == "-m" and arguments[1].startswith(("tests.", "pytest")):
        return  # the tests of the tests
    if arguments[:2] == ["-m", "framing"]:
        program, *arguments = "framing", *arguments[2:]
    assert program.endswith("framing"), f"list {line!r} in OTHER_COMMANDS, or check it"
    cli._parse(arguments)  # exits if it takes them not


def test_the_copy_works_under_its_new_name(tmp_path: Path) -> None:
    page = ROOT / "docs" / "howto" / "vendoring.md"
    lines = [line for each in blocks_of(page) for line in each.text.splitlines()]
    (command,) = (line for line in lines if line.startswith("cp "))
    if shutil.which("cp") is None:
        pytest.skip("there is no cp")
    (tmp_path / "framing").symlink_to(ROOT)
    (tmp_path / "myapp").mkdir()
    subprocess.run(command, shell=True, cwd=tmp_path, check=True, timeout=20)  # noqa: S602
    demo = [sys.executable, "-I", "-c", "import sys; sys.path.insert(0, ''); import myapp.wire"]
    subprocess.run(demo, cwd=tmp_path, check=True, timeout=20)
    assert (tmp_path / "myapp" / "wire" / "LICENSE").exists()


def test_the_page_on_copying_names_what_may_be_left_out() -> None:
    program = "import sys, framing; print(*sys.modules)"
    command = [sys.executable, "-c", program]
    loaded = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    unused = {f"{name.partition('.')[2]}.py" for name in {*MODULES} - {*loaded}}
    page = (ROOT / "docs" / "howto" / "vendoring.md").read_text("utf-8")
    section = page.partition("## What to leave out")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(\w+\.py)`", section)) == {*unused, "__main__.py"}


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
def test_the_client_in_javascript_is_understood(tmp_path: Path) -> None:
    (source,) = (
        each.text
        for each in blocks_of(ROOT / "docs" / "howto" / "peers.md")
        if each.language == "js"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        program = tmp_path / "client.js"
        program.write_text(source.replace("9000", str(listener.getsockname()[1])), "utf-8")
        client = subprocess.Popen(["node", str(program)], stdout=subprocess.PIPE)  # noqa: S607
        try:
            with listener.accept()[0] as conn:
                assert framing.recv_msg(conn) == b"hello"
                wire = framing.LengthPrefixFramer().encode(b"HELLO")
                for i in range(len(wire)):  # cut anywhere
                    conn.sendall(wire[i : i + 1])
                with pytest.raises(framing.EndOfStreamError):
                    framing.recv_msg(conn)
            printed, _ = client.communicate(timeout=20)
        finally:
            stop(client)
    assert printed == b"HELLO\n"


@pytest.mark.parametrize("name", MODULES)
def test_doctests_of_docstrings_pass(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_the_framer_in_the_module_docstring_works() -> None:
    module = importlib.import_module(f"{framing.__name__}.framer")
    found = re.search(r"^    class .*?(?=^\S)", module.__doc__ or "", re.DOTALL | re.MULTILINE)
    assert found
    namespace = {name: getattr(framing, name) for name in framing.__all__}
    exec(compile(textwrap.dedent(found[0]), "docstring", "exec"), namespace)  # noqa: S102
    netstrings = namespace["NetstringFramer"]()
    assert netstrings.encode(b"hello") == b"5:hello,"
    assert list(netstrings.decoder().feed(b"5:hello,0:,2:h")) == [b"hello", b""]
    with pytest.raises(framing.EncodeError):
        namespace["NetstringFramer"](max_size=4).encode(b"hello")
    for wrong in (b"05:hello,", b"x:", b"5:hello;", b"1048577:"):
        with pytest.raises(framing.DecodeError):
            netstrings.decode(wrong)


def test_the_package_exports_what_its_modules_do() -> None:
    core = [
        "errors",
        "buffer",
        "requests",
        "decoder",
        "framer",
        *FORMATS,
        "stream",
        "message_socket",
        "datagram",
    ]
    modules = [importlib.import_module(f"{framing.__name__}.{name}") for name in core]
    assert sorted(framing.__all__) == sorted(name for each in modules for name in each.__all__)
    for module in modules:
        for name in module.__all__:
            assert getattr(framing, name) is getattr(module, name)


def test_every_public_class_and_function_is_documented() -> None:
    public = [getattr(framing, name) for name in framing.__all__]
    for each in public:
        if getattr(each, "__module__", "").startswith(framing.__name__):
            assert inspect.getdoc(each), each
            for name, member in inspect.getmembers(each):
                if inspect.isfunction(member) and not name.startswith("_"):
                    assert inspect.getdoc(member), member


def test_imports_point_down() -> None:
    """A module imports only those below it, and a wire format no other wire format.

    (Types may be named from above, which costs nothing when the program runs.)
    """
    for name, below in LAYERS.items():
        source = Path(str(importlib.import_module(f"{framing.__name__}.{name}").__file__))
        text = source.read_text("utf-8")
        imported = set(re.findall(r"^from \.(\w+) import", text, re.MULTILINE))
        assert imported <= below, name
        assert "import framing" not in text.replace(">>> import framing", "").replace(
            "    import framing", ""
        )
        if name in {*CORE, *FORMATS}:
            assert not re.search(r"import (socket|ssl|select|threading|asyncio)\b", text), name
