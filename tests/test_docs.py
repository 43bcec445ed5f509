"""The documentation is true of the code: its examples run, its commands parse, its links lead somewhere."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from dekey.cli import COMMANDS, command_parser

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
FENCE = re.compile(r"^```(?P<language>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: what stands behind the fence, the text, the line of its first line."""

    language: str
    code: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        yield Block(found["language"].strip(), found["code"], text.count("\n", 0, found.start("code")) + 1)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands_on(page: Path) -> list[str]:
    """Every `dekey ...` line of the console and shell blocks."""
    lines = [line for block in blocks(page) if block.language in {"console", "sh"} for line in block.code.splitlines()]
    parts = [part.strip().removeprefix("$ ").removeprefix("uv run ") for line in lines for part in line.split("&&")]
    return [part for part in parts if part.startswith("dekey")]


def options(parser: argparse.ArgumentParser) -> set[str]:
    found = {option for action in parser._actions for option in action.option_strings if option.startswith("--")}
    return found - {"--help"}


def test_every_command_has_its_page_and_every_page_its_command() -> None:
    assert {path.stem for path in (ROOT / "docs" / "commands").glob("*.md")} == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_page_names_the_options_of_its_command_and_no_others(command: str) -> None:
    page = (ROOT / "docs" / "commands" / f"{command}.md").read_text(encoding="utf-8")
    rows = "\n".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    parser = command_parser(command)
    assert set(re.findall(r"--[a-z][a-z-]*", rows)) == options(parser)
    places = [action for action in parser._actions if not action.option_strings]
    assert all(f"`{action.metavar or action.dest}`" in rows for action in places)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_page_shows_its_command_at_work(command: str) -> None:
    page = ROOT / "docs" / "commands" / f"{command}.md"
    assert any(shlex.split(line)[1] == command for line in commands_on(page))


@pytest.mark.parametrize("page", [page for page in PAGES if commands_on(page)], ids=name)
def test_commands_on_a_page_parse(page: Path) -> None:
    for line in commands_on(page):
        words = shlex.split(re.split(r"\s[|>]\s", line)[0])
        command_parser(words[1]).parse_args(words[2:])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(block.language == "python" for block in blocks(page))], ids=name
)
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras, on NumPy 2.4 and torch
def test_examples_run(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page are one program; all pages write into one folder."""
    monkeypatch.chdir(folder)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language == "python":
            # Blank lines in front make the line numbers of a traceback those of the page.
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_of_a_page_are_of_a_known_kind(page: Path) -> None:
    known = {"", "console", "json", "python", "python no-run", "sh", "text", "toml", "yaml"}
    assert {block.language for block in blocks(page)} <= known
    for block in blocks(page):
        if block.language.startswith("python"):
            compile(block.code, str(page), "exec")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [target for target in targets if target and not target.startswith(("https://", "http://"))]
    assert not [target for target in local if not (page.parent / target).exists()]


def test_every_page_is_reached_from_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert not [page for page in pages if page != "index.md" and f"({page})" not in index]


def test_the_tree_of_the_architecture_is_the_tree() -> None:
    text = (ROOT / "docs" / "concepts" / "architecture.md").read_text(encoding="utf-8")
    tree = re.search(r"^```text\nsrc/dekey/\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert tree, "docs/concepts/architecture.md shows no tree that begins with src/dekey/"
    drawn, folder = set(), ""
    for line in tree[1].splitlines():
        indent, entry = len(line) - len(line.lstrip()), line.split()[0]
        folder = "" if indent == 2 else folder
        if entry.endswith("/"):
            folder = entry
        elif "(planned)" not in line:
            drawn.add(folder + entry)
    source = ROOT / "src" / "dekey"
    modules = {path.relative_to(source).as_posix() for path in source.rglob("*.py")}
    assert drawn == {module for module in modules if not module.endswith("__init__.py")}
