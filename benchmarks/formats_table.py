"""Make the tables of docs/concepts/formats.md: what each format holds, and what dekey makes of other people's label files.

The first is made from `FORMATS`, the second from reading every folder of ``--data``; where that folder is missing, the second
stays as it is. ``--check`` changes nothing and leaves with 1 if a table is stale::

    python benchmarks/formats_table.py
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dekey.data import Dataset
from dekey.data.problems import find_problems
from dekey.errors import DekeyError
from dekey.files import write_text
from dekey.formats import FEATURES, FORMATS, read, recognise

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "concepts" / "formats.md"
DATA = ROOT.parent / "shared" / "data" / "formats"
_PICTURES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".mp4", ".avi"}


def held() -> str:
    """Make a row for each feature and a column for each format."""
    head = ["feature", *(f"`{name}`" for name in FORMATS)]
    rows = [
        [f"{'**' if feature.grave else ''}{name.replace('_', ' ')}{'**' if feature.grave else ''}: {feature.meaning}"]
        + ["✓" if name in known.holds else "–" for known in FORMATS.values()]
        for name, feature in FEATURES.items()
    ]
    titles = []
    for name, known in FORMATS.items():
        parts = ["a folder" if known.suffix == "" else f"ends in `{known.suffix}`"]
        parts += ["read only"] if known.write is None and not known.note.startswith("read only") else []
        parts += [f'`pip install "dekey[{known.extra}]"`'] if known.extra else []
        parts += [known.note] if known.note else []
        titles.append([f"`{name}`", known.title, "; ".join(parts)])
    return _markdown(["name", "format", "notes"], titles) + "\n\n" + _markdown(head, rows)


def made_of(data: Path) -> str:
    """Make a row for each folder of real label files."""
    rows = []
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        answers = _folder(folder)
        rows.append([folder.name, *("<br>".join(column) for column in zip(*answers, strict=True))])
    return _markdown(["folder", "file", "read as", "images", "objects", "keypoints", "what is said"], rows)


def _folder(folder: Path) -> list[list[str]]:
    """Read the folder if it is a data set, and else, or besides, every label file in it."""
    whole = _read(folder, folder)
    answers = [] if whole is None else [whole]
    inside = "" if whole is None else whole[1]
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix.lower() in _PICTURES:
            continue
        try:
            own = recognise(path)
        except DekeyError:
            own = ""
        # What belongs to the folder that was read already is not told again.
        if whole is None or (own and own != inside):
            answer = _read(path, folder)
            answers += [] if answer is None else [answer]
    return answers


def _read(path: Path, folder: Path) -> list[str] | None:
    name = "." if path == folder else path.relative_to(folder).as_posix()
    try:
        known = recognise(path)
    except DekeyError as error:
        if path.is_dir() and "in no known format" in str(error):
            return None
        return [name, "–", "–", "–", "–", _sentence(error, path, folder)]
    with_images = ""
    try:
        dataset = read(path, problems="keep")
    except DekeyError as error:
        elsewhere = _with_images(path, folder) if "--images" in str(error) else None
        if elsewhere is None:
            return [name, known, "–", "–", "–", _sentence(error, path, folder)]
        images, dataset = elsewhere
        with_images = f"with `--images {images}`: "
    problems = find_problems(dataset, images=False)
    found = Counter((each.severity, each.kind) for each in problems if each.kind != "undecided-mirror")
    said = ", ".join(
        f"{count} {kind}{' (error)' if severity == 'error' else ''}" for (severity, kind), count in sorted(found.items())
    )
    counts = (len(dataset), len(dataset.instances), len(dataset.schema.keypoints))
    return [name, known, *map(str, counts), with_images + (said or "nothing")]


def _with_images(path: Path, folder: Path) -> tuple[str, Dataset] | None:
    """Follow the advice of a sentence: name the folder of pictures with which most images can be used, None where none does."""
    best: tuple[str, Dataset] | None = None
    for images in sorted({picture.parent for picture in folder.rglob("*") if picture.suffix.lower() in _PICTURES}):
        try:
            dataset = read(path, images=images, problems="keep")
        except DekeyError:
            continue
        if best is None or len(dataset) > len(best[1]):
            best = images.relative_to(folder).as_posix(), dataset
    return best


def _sentence(error: DekeyError, path: Path, folder: Path) -> str:
    text = (
        str(error)
        .replace(f"{path}: ", "")
        .replace(f"{path} ", "")
        .replace(f"{folder}/", "")
        .replace(str(folder), folder.name)
        .replace("|", "\\|")
    )
    return f"refused: {text if len(text) <= 240 else text[:237] + '…'}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def filled(text: str, tables: dict[str, str]) -> str:
    """Put the tables between their markers.

    Raises:
        SystemExit: if a marker is missing.
    """
    for name, table in tables.items():
        pattern = re.compile(rf"(<!-- formats:{name} -->\n).*?(<!-- /formats -->)", re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"{PAGE.name} has no marker '<!-- formats:{name} -->'; put it back")
        text = pattern.sub(lambda found, table=table: f"{found[1]}\n{table}\n\n{found[2]}", text)  # type: ignore[misc]
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="make the tables of docs/concepts/formats.md")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of folders with label files")
    parser.add_argument("--check", action="store_true", help="write nothing; leave with 1 if a table is stale")
    parsed = parser.parse_args(arguments)
    tables = {"held": held()}
    if parsed.data.is_dir():
        tables["read"] = made_of(parsed.data)
    before = PAGE.read_text(encoding="utf-8")
    after = filled(before, tables)
    if after != before and not parsed.check:
        write_text(PAGE, after)
    if after != before:
        print(f"{PAGE.name}: {'stale; run python benchmarks/formats_table.py' if parsed.check else 'written'}", file=sys.stderr)
    return 1 if parsed.check and after != before else 0


if __name__ == "__main__":
    sys.exit(main())
