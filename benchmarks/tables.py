"""Make the Markdown tables of README.md and docs/ from benchmarks/results/*.json.

A page asks for a table by two comments, and what stands between them is replaced::

    <!-- results:start_up -->
    <!-- /results -->

`python benchmarks/tables.py` writes the pages, `--check` changes nothing and leaves with 1 if one is stale. Known names
are the keys of `TABLES` and `GATHERED` in `table_rows.py`, and ``accuracy-DATA`` for every data set. Of the results of
`accuracy`, those with box AP go to ``detection``, the others to ``accuracy-DATA``. What has no result yet says "not measured".
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from table_rows import GATHERED, TABLES, accuracy, finds_boxes

ROOT = Path(__file__).resolve().parents[1]
_OPEN = re.compile(r"^<!-- results:(?P<name>\S+) -->$", re.MULTILINE)
_CLOSE = "<!-- /results -->"

Result = dict[str, Any]


def load(folder: Path) -> list[Result]:
    """Read every result of a folder, in the order of the file names; none if the folder does not exist.

    Raises:
        SystemExit: if a file is no JSON object with the key ``benchmark``.
    """
    results = []
    for path in sorted(folder.glob("*.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise SystemExit(f"{path.name} is not JSON ({error}); measure it again") from error
        if not isinstance(result, dict) or "benchmark" not in result:
            raise SystemExit(f"{path.name} does not say which benchmark it belongs to; measure it again")
        results.append(result)
    return results


def table(name: str, results: Sequence[Result]) -> str:
    """Make one table, with the machine below it, as Markdown text without a final line break.

    Raises:
        SystemExit: if no table has this name.
    """
    measured = [result for result in results if result["benchmark"] == "accuracy"]
    if name.startswith("accuracy-"):
        own = [result for result in measured if f"accuracy-{result['data']}" == name and not finds_boxes(result)]
        parts = [accuracy(own), footer(own)] if own else []
    elif name in GATHERED:
        make, choose = GATHERED[name]
        own = choose([result for result in measured if finds_boxes(result)])
        parts = [make(own), footer(own)] if own else []
    elif name in TABLES:
        own = [result for result in results if result["benchmark"] == name]
        parts = [part for result in own for part in (TABLES[name](result), footer([result]))]
    else:
        raise SystemExit(f"there is no table '{name}'; known: {', '.join([*TABLES, *GATHERED])}, accuracy-DATA")
    return "\n\n".join(parts) if parts else "not measured"


def footer(results: Sequence[Result]) -> str:
    """Say on what machine, with what versions, at which commits and when; a sentence for each machine and its versions."""
    measured: dict[str, dict[str, None]] = {}
    dates: dict[str, list[str]] = {}
    for result in results:
        machine, versions, commit = result["machine"], result["versions"], result["commit"]
        flags = f" ({', '.join(machine['flags'])})" if machine["flags"] else ""
        memory = f", {machine['memory_gib']:g} GiB" if machine["memory_gib"] else ""
        named = [f"{label} {versions[key]}" for key, label in (("python", "Python"), ("torch", "torch")) if key in versions]
        cores = "1 core" if machine["cores"] == 1 else f"{machine['cores']} cores"
        text = f"{machine['cpu']}{flags}, {cores}{memory}; {', '.join(named)}"
        state = commit["id"][:9] if commit["id"] else "unknown"
        measured.setdefault(text, {})[state + (" with uncommitted changes" if commit["dirty"] else "")] = None
        dates.setdefault(text, []).append(result["date"][:10])
    sentences = []
    for text, commits in measured.items():
        first, last = min(dates[text]), max(dates[text])
        at = f"commit{'s' if len(commits) > 1 else ''} {', '.join(commits)}"
        sentences.append(f"Measured on {text}; {at}; {first if first == last else f'{first} to {last}'}.")
    return "\n".join(sentences)


def filled(text: str, results: Sequence[Result]) -> str:
    """Put the tables into the text of a page.

    Raises:
        SystemExit: if a marker has no end, or names no table.
    """
    pieces, position = [], 0
    for opening in _OPEN.finditer(text):
        end = text.find(f"\n{_CLOSE}", opening.end())
        following = _OPEN.search(text, opening.end())
        if end < 0 or (following and following.start() < end):
            raise SystemExit(f"the marker '{opening.group()}' has no '{_CLOSE}' on a line below it; add it")
        pieces += [text[position : opening.end()], "\n\n", table(opening.group("name"), results), "\n"]
        position = end
    return "".join([*pieces, text[position:]])


def stale(root: Path, write: bool = False) -> list[Path]:
    """List the pages under `root` whose tables are not those of its results; with `write`, write them anew."""
    results, found = load(root / "benchmarks" / "results"), []
    for page in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
        if not page.is_file():
            continue
        before = page.read_text(encoding="utf-8")
        try:
            after = filled(before, results)
        except SystemExit as error:
            raise SystemExit(f"{page.relative_to(root)}: {error}") from error
        if after == before:
            continue
        found.append(page)
        if write:
            _replace(page, after)
    return found


def _replace(page: Path, text: str) -> None:
    handle, part = tempfile.mkstemp(dir=page.parent, prefix=f".{page.name}-", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(part).chmod(page.stat().st_mode)
        Path(part).replace(page)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description="write the tables of README.md and docs/ from benchmarks/results/*.json")
    parser.add_argument("--check", action="store_true", help="write nothing; leave with 1 if a table is stale")
    check = parser.parse_args(arguments).check
    pages = stale(root, write=not check)
    for page in pages:
        print(f"{page.relative_to(root)}: {'stale; run python benchmarks/tables.py' if check else 'written'}", file=sys.stderr)
    return 1 if check and pages else 0


if __name__ == "__main__":
    sys.exit(main())
