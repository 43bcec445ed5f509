"""``dekey convert``: a label file in another format."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from dekey.cli.console import Progress, message
from dekey.errors import DekeyError

if TYPE_CHECKING:
    from dekey.data import Dataset
    from dekey.formats import Format

HELP = "Write a label file in another format, and say what the other format cannot hold; labels are never made wrong."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("file", metavar="FILE", help="label file, or a folder where its format is one")
    parser.add_argument("out", metavar="OUT", help="file to write, or a new folder where the format is one")
    parser.add_argument("--from", metavar="NAME", dest="source", help="format of FILE (default: recognised by its content)")
    parser.add_argument("--to", metavar="NAME", dest="target", help="format of OUT (default: by its ending)")
    parser.add_argument("--images", metavar="DIR", help="folder where the image names start (default: beside FILE)")
    parser.add_argument("--drop", action="store_true", help="leave out images that the other format cannot hold truly")
    parser.add_argument("--force", action="store_true", help="replace OUT if it is a file that exists")


def run(arguments: argparse.Namespace) -> int:
    """Read, say what will be lost, write."""
    from dekey.formats import FORMATS, format_for, losses, read, recognise, write
    from dekey.formats.access import known_format
    from dekey.formats.fitting import fitted

    source, out = Path(arguments.file), Path(arguments.out)
    target = known_format(name := arguments.target or format_for(out))
    _check_target(source, out, target, arguments.force)
    origin = arguments.source or recognise(source)
    with Progress(f"reading {source.name}"):
        whole = read(source, format=origin, images=arguments.images)
    lost = losses(whole, target)
    dataset = fitted(whole, target, drop=arguments.drop)
    message(f"{FORMATS[origin].title} to {target.title}: " + ("nothing is lost" if not lost else "this will be lost"))
    for sentence in lost:
        message(f"  {sentence}")
    left_out = {
        "images": len(whole) - len(dataset),
        "objects": len(whole.instances) - len(dataset.instances),
    }
    if any(left_out.values()):
        message(f"  in all, {left_out['images']:,} images with {left_out['objects']:,} objects are left out")
    with Progress(f"writing {out.name}"):
        write(dataset, out, format=name)
    summary = {
        "from": origin,
        "to": name,
        "out": str(out),
        "images": len(dataset),
        "objects": len(dataset.instances),
        "labelled_keypoints": int(dataset.instances.labelled.sum()),
        "left_out": left_out,
        "lost": lost,
        "image_folder": _folder(dataset, out, target),
    }
    print(json.dumps(summary, indent=2, ensure_ascii=False))
    return 0


def _check_target(source: Path, out: Path, target: Format, force: bool) -> None:
    """Refuse, before anything is read, a place that must not or cannot be written to."""
    if target.write is None:
        raise DekeyError(f"{target.title} cannot be written; {target.note or 'it is read only'}")
    if out.exists() and source.exists() and out.samefile(source):
        raise DekeyError(f"{out} is the label file itself; name another file to write")
    if target.suffix == "":
        if out.is_file() or (out.is_dir() and any(out.iterdir())):
            raise DekeyError(f"{out} exists, and {target.title} is a folder of its own; name a new one")
    elif out.is_dir():
        raise DekeyError(f"{out} is a folder, and {target.title} is a file; name one ending in {target.suffix}")
    elif out.exists() and not force:
        raise DekeyError(f"{out} exists; name another file, or replace it with --force")
    if not out.absolute().parent.is_dir():
        raise DekeyError(f"{out} lies in a folder that does not exist; make the folder first")


def _folder(dataset: Dataset, out: Path, target: Format) -> str:
    """Say where the image names of the new file start, for whoever reads it with --images."""
    from dekey.formats.pictures import written_root

    if target.suffix == "":
        return str(out)  # the images were copied into it
    root, here = written_root(dataset, out.parent), Path.cwd()
    return str(root.relative_to(here) if root.is_relative_to(here) else root)
