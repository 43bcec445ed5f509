"""``dekey split``: label files divided into train, val and test so that nothing leaks."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from dekey.cli.console import Progress, counted, message
from dekey.errors import DekeyError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dekey.data import Dataset

HELP = "Divide label files into train.json, val.json and test.json so that no group, and no picture that looks the same, leaks."

# Pairs of pictures across parts that the summary names.
_SHOWN = 20
# Difference between a share reached and the one wanted from which it is said aloud.
_FAR = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("files", metavar="FILE", nargs="+", help="label files, joined before they are divided")
    parser.add_argument("--out", metavar="DIR", required=True, help="folder of the parts; made if it is missing")
    parser.add_argument(
        "--fractions", metavar="F", nargs="+", type=float, default=[0.8, 0.1, 0.1], help="shares of train, val and test"
    )
    parser.add_argument("--by", choices=("image", "folder", "pattern", "time"), help="what stays whole (default: image)")
    parser.add_argument("--pattern", metavar="REGEX", help="its first ( ) finds the group, a video or a subject, in each name")
    parser.add_argument("--gap", metavar="N", type=int, default=0, help="with --by time: images left out between two parts")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="another number, another division (default: 0)")
    parser.add_argument("--images", metavar="DIR", help="folder where the image names start (default: beside each FILE)")
    parser.add_argument("--format", metavar="NAME", help="format of the files (default: recognised by their content)")
    parser.add_argument("--quick", action="store_true", help="do not compare pictures, so copies may come apart")
    parser.add_argument("--force", action="store_true", help="replace parts that exist in DIR")


def run(arguments: argparse.Namespace) -> int:
    """Read, group, divide, check, write."""
    from dekey.data import split
    from dekey.data.merge import merge
    from dekey.data.picture_hash import near_pairs
    from dekey.formats import read
    from dekey.formats.pictures import written_names

    split.check_fractions(arguments.fractions)
    by = _checked_by(arguments)
    out = Path(arguments.out)
    parts = split.PARTS[: len(arguments.fractions)]
    targets = [out / f"{part}.json" for part in parts]
    _check_targets(out, targets, [Path(file) for file in arguments.files], arguments.force)
    with Progress("reading " + ", ".join(Path(file).name for file in arguments.files)):
        datasets = [read(file, format=arguments.format, images=arguments.images) for file in arguments.files]
    own_names = [dataset.picture_name(index) for dataset in datasets for index in range(len(dataset))]
    dataset = merge(datasets)
    written = written_names(dataset, out)  # refuses pictures without a file
    files = [Path(os.path.abspath(str(picture))).as_posix() for picture in dataset.pictures]  # noqa: PTH100
    objects = np.diff(dataset.starts)
    labels = files
    if arguments.pattern is not None:
        labels = split.captured(own_names, arguments.pattern)
    elif by != "image":
        labels = split.folders(files)

    groups = split.numbered(labels)
    if by != "time":
        # A file that is listed twice is one picture, whatever the pattern found in its two names.
        groups = split.joined(groups, np.stack([np.arange(len(files)), split.numbered(files)], axis=1))
        split.check_groups(groups, objects, arguments.fractions)  # before every picture is read
    pairs, facts = np.zeros((0, 2), dtype=np.int64), None
    if not arguments.quick:
        prints = _fingerprints(dataset)
        with Progress("looking for pictures that look the same") as progress:
            pairs = near_pairs(prints, progress=progress.reach)
        facts = {"pairs": len(pairs), "unreadable": int((~prints.readable).sum())}
    if by == "time":
        part_of = split.cut(labels, files, arguments.fractions, arguments.gap)
    else:
        before = len(np.unique(groups))
        groups = split.joined(groups, pairs)
        if facts is not None:
            facts["groups_joined"] = before - len(np.unique(groups))
        _tell_joined(facts, before, by)
        part_of = split.divide(groups, files, objects, arguments.fractions, arguments.seed)
    summary = {
        "files": arguments.files,
        "by": by,
        "seed": None if by == "time" else arguments.seed,
        "gap": arguments.gap if by == "time" else None,
        "groups": len(np.unique(groups)),
        "images": len(dataset),
        "objects": len(dataset.instances),
        "parts": _parts(dataset, part_of, groups, targets),
        "left_out": {"images": int((part_of < 0).sum()), "objects": int(objects[part_of < 0].sum())},
        "near_duplicates": facts,
        "leaks": _leaks(part_of, groups if by != "time" else None, files, pairs, written),
        "image_folder": str(_root(written, files, out)),
    }
    _tell(summary, arguments.fractions)
    _check_filled(summary["parts"], by, arguments.gap)
    _write(dataset, part_of, targets, written)
    _tell_folder(summary, out)
    print(json.dumps(summary, indent=2, ensure_ascii=False))
    return 0


def _checked_by(arguments: argparse.Namespace) -> str:
    """Settle what stays whole, and refuse options that contradict each other."""
    by: str = arguments.by or ("image" if arguments.pattern is None else "pattern")
    if by == "pattern" and arguments.pattern is None:
        raise DekeyError("found --by pattern without --pattern; give a regular expression whose first ( ) finds the group")
    if by in ("image", "folder") and arguments.pattern is not None:
        raise DekeyError(f"found --pattern with --by {by}, which does not use it; leave one out")
    if arguments.gap < 0:
        raise DekeyError(f"found --gap {arguments.gap}, expected 0 or more")
    if arguments.gap and by != "time":
        raise DekeyError(f"found --gap with --by {by}; images between two parts are left out with --by time only")
    if arguments.seed < 0:
        raise DekeyError(f"found --seed {arguments.seed}, expected 0 or more")
    return by


def _check_targets(out: Path, targets: Sequence[Path], sources: Sequence[Path], force: bool) -> None:
    """Refuse, before anything is read, places that must not or cannot be written to."""
    if out.exists() and not out.is_dir():
        raise DekeyError(f"--out {out} is a file, expected a folder")
    if not out.absolute().parent.is_dir():
        raise DekeyError(f"--out {out} lies in a folder that does not exist; make the folder first")
    for target in targets:
        if target.is_dir():
            raise DekeyError(f"{target} is a folder, expected a file to write; name another --out")
        for source in sources:
            if target.exists() and source.exists() and target.samefile(source):
                raise DekeyError(f"{target} is one of the label files itself; name another --out")
        if target.exists() and not force:
            raise DekeyError(f"{target} exists; name another --out, or replace the parts with --force")
    other = out / "test.json"
    if other not in targets and other.exists():
        message(f"{other} exists and is no part of this division; `dekey inspect --against` tells whether images come twice")


def _fingerprints(dataset: Dataset) -> Any:
    from dekey.data.picture_hash import fingerprints

    with Progress("comparing pictures", total=len(dataset), unit="images") as progress:
        return fingerprints(dataset, progress.reach)


def _parts(
    dataset: Dataset, part_of: NDArray[np.int64], groups: NDArray[np.int64], targets: Sequence[Path]
) -> dict[str, dict[str, Any]]:
    """Count what each part holds; shares are of the objects that are in a part."""
    part_of_object = part_of[dataset.image_of_instance()]
    kept = int((part_of_object >= 0).sum())
    found = {}
    for part, target in enumerate(targets):
        own = part_of_object == part
        counts = np.bincount(dataset.instances.labels[own], minlength=len(dataset.schema.classes))
        found[target.stem] = {
            "file": str(target),
            "groups": len(np.unique(groups[part_of == part])),
            "images": int((part_of == part).sum()),
            "objects": int(own.sum()),
            "share": round(int(own.sum()) / max(kept, 1), 4),
            "objects_per_class": dict(zip(dataset.schema.classes, counts.tolist(), strict=True)),
        }
    return found


def _leaks(
    part_of: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    files: Sequence[str],
    pairs: NDArray[np.int64],
    names: Sequence[str],
) -> dict[str, Any]:
    """Look for what is in two parts, from the result alone: groups, files, and pictures that look the same."""

    def in_two(keys: Sequence[Any]) -> int:
        places: dict[Any, set[int]] = {}
        for key, part in zip(keys, part_of.tolist(), strict=True):
            if part >= 0:
                places.setdefault(key, set()).add(part)
        return sum(len(each) > 1 for each in places.values())

    sides = part_of[pairs]
    across = pairs[(sides >= 0).all(axis=1) & (sides[:, 0] != sides[:, 1])]
    return {
        "groups": None if groups is None else in_two(groups.tolist()),
        "files": in_two(files),
        "near_duplicates": len(across),
        "examples": [[names[first], names[second]] for first, second in across[:_SHOWN].tolist()],
    }


def _root(names: Sequence[str], files: Sequence[str], out: Path) -> Path:
    """Give the folder that the written names start from."""
    if os.path.abspath(out / names[0]) == files[0]:  # noqa: PTH100
        return out
    return Path(files[0]).parents[len(PurePosixPath(names[0]).parts) - 1]


def _check_filled(parts: dict[str, dict[str, Any]], by: str, gap: int) -> None:
    for name, part in parts.items():
        if not part["objects"]:
            hint = f"too short for --gap {gap} and these fractions" if gap else "too short for these fractions"
            raise DekeyError(
                f"{name} would hold no object: the sequences are {hint}, or nothing is labelled there; "
                "give fewer or larger fractions, or divide in another way than --by " + by
            )


def _write(dataset: Dataset, part_of: NDArray[np.int64], targets: Sequence[Path], names: Sequence[str]) -> None:
    """Write all parts or none, with image names that start from one folder."""
    from dekey.data.dataset import PictureFiles
    from dekey.files import replacing_all
    from dekey.formats import write

    out = targets[0].parent
    made = not out.exists()
    if made:
        out.mkdir()
    try:
        # Named as if the images lay in `out`, the writer takes the names as they are; else each part would have its own root.
        named = replace(dataset, pictures=PictureFiles(out, names))
        with Progress(f"writing {', '.join(target.name for target in targets)}"), replacing_all(targets) as staged:
            for part, place in enumerate(staged):
                write(named.subset(np.flatnonzero(part_of == part)), place, format="coco")
    except BaseException:
        if made:
            out.rmdir()
        raise


def _tell_joined(facts: dict[str, int] | None, groups: int, by: str) -> None:
    if facts is not None and facts["groups_joined"]:
        left = groups - facts["groups_joined"]
        what = "images" if by == "image" else "groups"
        message(f"{groups:,} {what} became {counted(left, 'group')}, because pictures that look the same stay together")


def _tell(summary: dict[str, Any], fractions: Sequence[float]) -> None:
    """Say what was done."""
    message(
        f"{counted(summary['images'], 'image')} with {counted(summary['objects'], 'object')} in "
        f"{counted(summary['groups'], 'group')}, by {summary['by']}"
    )
    for (name, part), wanted in zip(summary["parts"].items(), fractions, strict=True):
        counts = part["objects_per_class"]
        each = ", ".join(f"{label} {count:,}" for label, count in list(counts.items())[:8])
        message(
            f"  {name}: {counted(part['images'], 'image')}, {counted(part['objects'], 'object')} "
            f"({part['share']:.1%} of them), {counted(part['groups'], 'group')}" + (f": {each}" if len(counts) > 1 else "")
        )
        if abs(part["share"] - wanted) > _FAR:
            why = "no tried way to give whole groups is nearer"
            if summary["by"] == "time":
                why = "its images hold more or fewer objects than the others"
            message(f"  {name} was to have {wanted:.0%}; {why}")
    for label in next(iter(summary["parts"].values()))["objects_per_class"]:
        without = [name for name, part in summary["parts"].items() if not part["objects_per_class"][label]]
        if without and len(without) < len(summary["parts"]):
            message(f"  no object of class '{label}' is in {' and '.join(without)}")
    if summary["left_out"]["images"]:
        message(f"  left out between the parts: {summary['left_out']['images']:,} images")
    facts, leaks = summary["near_duplicates"], summary["leaks"]
    if facts and facts["unreadable"]:
        message(f"{facts['unreadable']:,} pictures could not be read, so they were compared with none; check --images")
    found = [f"{leaks[kind]:,} {kind.replace('_', '-')}" for kind in ("groups", "files", "near_duplicates") if leaks[kind]]
    looked = ["files"] if leaks["groups"] is None else ["groups", "files"]
    looked += [] if facts is None else ["pictures that look the same"]
    quick = "; pictures were not compared (--quick)" if facts is None else ""
    listed = " and ".join(filter(None, [", ".join(looked[:-1]), looked[-1]]))
    message(f"leak check: {', '.join(found) or 'nothing'} in two parts; looked for {listed}{quick}")
    if leaks["near_duplicates"]:
        first, second = leaks["examples"][0]
        message(f"  such as {first} and {second}: raise --gap, now {summary['gap']}, or divide in another way")


def _tell_folder(summary: dict[str, Any], out: Path) -> None:
    if Path(summary["image_folder"]) != out:
        message(f"image names start in {summary['image_folder']}; who reads the parts says so with --images")
