"""``dekey label``: keypoint labels for classification pictures."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dekey.cli.console import Progress, message, printable
from dekey.errors import DekeyError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from dekey.label.write import Advances

HELP = "Label classification pictures by segmenting them, and compose scenes of the objects to train a detector on."

METHODS = ("segmentation",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("pictures", metavar="PICTURES", help="folder with a folder for each class, or with CIFAR's *.bin files")
    parser.add_argument("--by", choices=METHODS, default=METHODS[0], help="how objects are found (default: segmentation)")
    parser.add_argument("--out", metavar="DIR", required=True, help="folder to write; it must be new or empty")
    parser.add_argument("--quality", metavar="Q", type=float, help="least quality of a label that is kept, 0 to 1 (0.75)")
    parser.add_argument("--compose", metavar="N", type=int, default=0, help="compose N scenes to train on, and some to test")
    parser.add_argument("--size", metavar="WxH", help="size of a scene, px (320x320)")
    parser.add_argument("--objects", metavar="A-B", help="objects a scene (1-4)")
    parser.add_argument("--lengths", metavar="A-B", help="longer side of an object in a scene, px (64-160)")
    parser.add_argument(
        "--backgrounds", metavar="DIR", help="pictures to compose on (default: the labelled ones, objects painted over)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the division into parts and of the scenes (0)")


def run(arguments: argparse.Namespace) -> int:
    """Label the pictures and say what was kept."""
    size = _pair(arguments.size, "x", "--size", "320x320")
    objects = _pair(arguments.objects, "-", "--objects", "1-4")
    lengths = _pair(arguments.lengths, "-", "--lengths", "64-160")
    if not arguments.compose:
        for name in ("size", "objects", "lengths", "backgrounds"):
            if (given := getattr(arguments, name)) is not None:
                raise DekeyError(
                    f"found --{name} {given} without --compose, whose scenes it is about; leave it out, or compose some"
                )
    if arguments.seed < 0:
        raise DekeyError(f"found --seed {arguments.seed}, expected 0 or more")
    from dekey.label import Options, label_folder
    from dekey.label.compose import Layout
    from dekey.runtime.threads import usable_cores

    options = Options(
        **({} if arguments.quality is None else {"quality": arguments.quality}),
        scenes=arguments.compose,
        layout=Layout((size[1], size[0]), objects, lengths, seed=arguments.seed),
        grounds=None if arguments.backgrounds is None else Path(arguments.backgrounds),
        seed=arguments.seed,
        workers=max(usable_cores() // 2, 1),
    )
    out = Path(arguments.out)
    summary = label_folder(Path(arguments.pictures), out, options, _watch)
    for line in _lines(summary, out):
        message(line)
    return 0


def _watch(text: str, total: int, unit: str) -> AbstractContextManager[Advances]:
    return Progress(text, total, unit=unit)


def _pair(given: str | None, separator: str, option: str, usual: str) -> tuple[int, int]:
    """Read two whole numbers, the usual ones where none are given; one alone counts twice."""
    text = usual if given is None else given
    found = re.fullmatch(rf"(\d{{1,6}})(?:{separator}(\d{{1,6}}))?", text)
    if not found:
        raise DekeyError(f"found {option} {text}, expected two whole numbers such as {usual}")
    return int(found[1]), int(found[2] or found[1])


def _lines(summary: dict[str, Any], out: Path) -> list[str]:
    lines = []
    for part in ("train", "test"):
        own = summary[part]
        left_out = ", ".join(f"{count} {reason}" for reason, count in own["left_out"].items() if count) or "none"
        share = own["kept"] / max(own["pictures"], 1)
        lines.append(f"{part}: kept {own['kept']} of {own['pictures']} pictures ({share:.0%}); left out: {left_out}")
        lines += [f"  {sentence}" for sentence in own["unreadable"]]
        if "scenes" in own:
            lines.append(f"{part}: {own['scenes']['count']} scenes with {own['scenes']['objects']} objects")
    if summary["image_folder"] is not None:
        start = f"image names start in {summary['image_folder']}"
        lines.append(f"{start}; who reads train.json or test.json says so with --images")
    sheets = [out / "train.png", *([out / "scenes" / "train.png"] if "scenes" in summary["train"] else [])]
    lines.append(f"look at {' and '.join(map(str, sheets))} before you train")
    return [printable(line) for line in lines]
