"""Every example in the documentation and the docstrings runs, and says what is true."""

from __future__ import annotations

import ast
import doctest
import gc
import importlib
import inspect
import pkgutil
import re
import shlex
import shutil
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import framing

from .programs import ENVIRONMENT, TIMEOUT, run_here

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
TEXTS = ROOT / "docs" / "troubleshooting"  # of errors
# What is in another language is shown: a reader has its programs, and a test may not.
SHELLS = {"sh", "bat", "powershell"}
CHECKED = {"python", *SHELLS}
SHOWN = {"text", "toml", "erlang", "go", "java", "js", "rust"}
# Commands of other programs, by how they begin.
OTHER_COMMANDS = (
    "HYPOTHESIS_PROFILE=thorough python -m pytest ",
    "TESTED_PACKAGE=acme.wire PYTHONPATH=elsewhere python -m pytest",
    "WITHOUT=MSG_DONTWAIT,poll,sendmsg,sendfile python -m pytest",
    ". .venv/bin/activate",
    ".venv\\Scripts\\",
    "$env:",
    "Set-ExecutionPolicy ",
    "py -m venv ",
    "set PYTHONUTF8=",
    ".venv/bin/python -m pip install .",
    "python -m pip install .",
    '.venv/bin/python -m pip install ".[docs]" && .venv/bin/python -m sphinx docs ',
    ".venv/bin/python -m pip install -e '.[bench]' && .venv/bin/python -m tests.benchmarks",
    "cp -r framing/src/framing ",
    "curl -i http://127.0.0.1:8000/",
    "mkdir files",
    "python capture.py",
    "mypy --strict wire",
    "mkdir -p elsewhere/acme && cp -r src/framing elsewhere/acme/wire",
    "python -m coverage ",
    "python -m http.server",
    "python -m pip install -e '.[bench]'",
    'python -m pip install -e ".[dev]"',
    'python -m pip install -e ".[dev,mutation]"',
    "python -m pip install -e '.[peers]'",
    "python -m pip install atheris",
    "python -m wire demo",
    "python -m mypy",
    "python -m ruff ",
    "python client.py",
    "python cure.py",
    "python solution.py",
    "python problem.py",
    "python server.py",
    "python start.py",
    "python3 -m venv ",
)
# What some pages use and the extra "test" does not bring along.
OPTIONAL = ("google.protobuf", "msgspec", "pydantic", "tqdm", "trustme")
MODULES = [framing.__name__] + [
    each.name
    for each in pkgutil.walk_packages(framing.__path__, f"{framing.__name__}.")
    if not each.name.endswith("__main__")
]


@dataclass(frozen=True)
class Block:
    language: str
    text: str

    @property
    def file(self) -> str:
        """The file that the block is to be saved as, if its first line names one."""
        found = re.match(r"# (\w+\.py)\n", self.text)
        return found[1] if found and self.language == "python" else ""


@cache
def blocks_of(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    found = re.findall(r"^(`{3,}|:{3,})([^\n`:]*)\n(.*?)^\1$", text, re.DOTALL | re.MULTILINE)
    fences = re.findall(r"^ *(?:`{3,}|:{3,})", text, re.MULTILINE)
    assert len(fences) == 2 * len(found), "a block is indented, nested or not closed"
    return [Block(language, body) for _, language, body in found]


def pages_where(is_meant: Callable[[Block], object]) -> list[Any]:
    pages = [page for page in PAGES if any(map(is_meant, blocks_of(page)))]
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages]


def test_every_block_is_in_a_language_that_is_checked_or_only_shown() -> None:
    for page in PAGES:
        for block in blocks_of(page):
            assert block.language in CHECKED | SHOWN or block.language.startswith("{"), block


@pytest.mark.parametrize(
    "page", pages_where(lambda block: block.language == "python" and not block.file)
)
def test_python_blocks_run(page: Path) -> None:
    # The blocks of a page are one program, as somebody who follows it would type; but those that
    # name a file are programs of their own: see the next test.
    blocks = [each.text for each in blocks_of(page) if each.language == "python" and not each.file]
    for module in OPTIONAL:
        if any(re.search(rf"^(import|from) {module}\b", each, re.MULTILINE) for each in blocks):
            pytest.importorskip(module)
    namespace: dict[str, object] = {"__name__": "example"}
    try:
        with warnings.catch_warnings():
            # An example may leave a socket to be closed when its name gets another one.
            warnings.simplefilter("ignore", ResourceWarning)
            code = compile("\n".join(blocks), str(page), "exec", dont_inherit=True)
            exec(code, namespace)  # noqa: S102
            gc.collect()
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
                        printed += start(line, tmp_path).communicate(timeout=TIMEOUT)
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
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def stop(process: subprocess.Popen[Any]) -> None:
    process.kill()
    process.communicate(timeout=TIMEOUT)


@pytest.mark.parametrize("page", pages_where(lambda block: block.language in SHELLS))
def test_the_command_line_has_the_commands_and_options_that_a_page_shows(page: Path) -> None:
    for block in blocks_of(page):
        if block.language in SHELLS:
            for line in filter(None, block.text.splitlines()):
                if not line.startswith(OTHER_COMMANDS):
                    check_command(line)


def check_command(line: str) -> None:
    if "| framing " in line:
        line = line.rpartition("| ")[2]
    words = shlex.split(line, comments=True)
    for sign in "<>&":
        words = words[: words.index(sign)] if sign in words else words
    program, *arguments = words
    if (ROOT / "docs" / "examples" / arguments[0]).is_file():
        return  # test_examples runs it
    if arguments[0] == "-m" and arguments[1].startswith(("tests.", "pytest")):
        return  # the tests of the tests
    if arguments[:2] == ["-m", "framing"]:
        program, *arguments = "framing", *arguments[2:]
    assert program.endswith("framing"), f"list {line!r} in OTHER_COMMANDS, or check it"
    options = {each for each in arguments[1:] if each.startswith("--") and each != "--"}
    assert options <= options_of(arguments[0]), line


@cache
def options_of(command: str) -> set[str]:
    shown = run_here(*([command] if not command.startswith("-") else []), "--help")
    assert shown.returncode == 0, shown.stderr
    return set(re.findall(r"--[\w-]+", shown.stdout))


def test_the_copy_works_under_its_new_name(tmp_path: Path) -> None:
    page = ROOT / "docs" / "howto" / "vendoring.md"
    lines = [line for each in blocks_of(page) for line in each.text.splitlines()]
    command = next(line for line in lines if line.startswith("cp "))
    if shutil.which("cp") is None:
        pytest.skip("there is no cp")
    (tmp_path / "framing").symlink_to(ROOT)
    subprocess.run(command, shell=True, cwd=tmp_path, check=True, timeout=TIMEOUT)  # noqa: S602
    demo = [sys.executable, "-I", "-c", "import sys; sys.path.insert(0, ''); import wire"]
    subprocess.run(demo, cwd=tmp_path, check=True, timeout=TIMEOUT)
    assert (tmp_path / "wire" / "LICENSE").exists()


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
def test_the_client_in_javascript_is_understood(tmp_path: Path) -> None:
    page = ROOT / "docs" / "howto" / "peers.md"
    (source,) = (each.text for each in blocks_of(page) if each.language == "js")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT)
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
            printed, _ = client.communicate(timeout=TIMEOUT)
        finally:
            stop(client)
    assert printed == b"HELLO\n"


def test_the_texts_on_the_troubleshooting_page_are_those_of_the_errors() -> None:
    library = "\n".join(
        "".join(
            str(each.value) if isinstance(each, ast.Constant) else "\0"
            for each in string_parts(node)
        )
        for source in Path(framing.__path__[0]).rglob("*.py")
        for node in ast.walk(ast.parse(source.read_text("utf-8")))
        if isinstance(node, (ast.JoinedStr, ast.Constant))
    )
    pages = "\n".join(page.read_text("utf-8") for page in TEXTS.glob("*.md"))
    texts = re.findall(r"`([^`]+)`", "\n".join(re.findall(r"^\| (.*?) \|", pages, re.MULTILINE)))
    assert len(texts) > 100
    others = re.compile(r"expected a socket\b.*, not|in \w+-endian: does|leave out")
    fragments = {part for text in texts if not others.search(text) for part in text.split("...")}
    assert not [part for part in fragments if part.strip(" :,") not in library]


def test_every_error_that_is_raised_is_found_under_troubleshooting() -> None:
    pages = [ROOT / "docs" / "troubleshooting.md", *TEXTS.glob("*.md")]
    found = [words_of(page.read_text("utf-8")) for page in pages]
    missing: list[tuple[str, int]] = []
    for source in Path(framing.__path__[0]).rglob("*.py"):
        if source.parent.name == "cli" or source.name == "testing.py":
            continue  # programs do not catch those
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error"):
                words = words_of(" ".join(literals(node.args)))
                if all(words - page for page in found):
                    missing.append((source.name, node.lineno))
    assert not missing


def words_of(text: str) -> set[str]:
    """Return what the site's search looks for: it skips numbers."""
    return set(re.findall(r"\b[a-z]\w+", text.lower()))


def literals(arguments: list[ast.expr]) -> list[str]:
    nodes = [node for each in arguments for node in ast.walk(each)]
    return [str(each.value) for each in nodes if isinstance(each, ast.Constant)]


def string_parts(node: ast.JoinedStr | ast.Constant) -> list[ast.expr]:
    if isinstance(node, ast.JoinedStr):
        return node.values
    return [node] if isinstance(node.value, str) else []


def test_doctests_of_docstrings_pass() -> None:
    for name in MODULES:
        assert doctest.testmod(importlib.import_module(name)).failed == 0, name


def test_every_public_class_and_function_is_documented() -> None:
    public = [getattr(framing, name) for name in framing.__all__]
    for each in public:
        if getattr(each, "__module__", "").startswith(framing.__name__):
            assert inspect.getdoc(each), each
            for name, member in inspect.getmembers(each):
                if inspect.isfunction(member) and not name.startswith("_"):
                    assert inspect.getdoc(member), member
