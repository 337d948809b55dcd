"""Every example in the documentation and the docstrings runs, and says what is true."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
import socket
import textwrap
from pathlib import Path

import pytest

import framing

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
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
    "server": CORE | FORMATS | {"message_socket"},
    "datagram": {"errors", "buffer"},
    "notation": CORE | FORMATS,
    "terminal": set(),
    "inspection": CORE | FORMATS | {"stream_decoder", "notation"},
    "commands": CORE
    | FORMATS
    | {"stream", "message_socket", "files", "notation", "inspection", "terminal"},
    "demo": CORE | FORMATS | {"stream"},
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    # The blocks of a page are one program, as somebody who follows it would type.
    namespace: dict[str, object] = {"__name__": "example"}
    try:
        exec(compile("\n".join(blocks), str(page), "exec"), namespace)  # noqa: S102
    finally:
        for value in namespace.values():
            if isinstance(value, framing.MessageSocket):
                value.sock.close()
            elif isinstance(value, socket.socket):
                value.close()


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
