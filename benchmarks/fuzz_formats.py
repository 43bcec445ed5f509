"""Read label files that were made wrong, by every reader: nothing but a `DekeyError` may come out, and no path may escape.

Real label files (``--data``, see docs/concepts/formats.md) and files that dekey writes are changed by `mutations.mutate` and
read; seed and number of a file give the same again, so that ``--resume`` goes on where a run was stopped. A finding is an
exception that is no `DekeyError`, a reading that takes longer than `SECONDS` of CPU time, a picture outside the folder of its
label file, or a labelled keypoint without coordinates::

    python benchmarks/fuzz_formats.py --files 100000
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mutations
import numpy as np
import record

from dekey.data import Dataset, Instances, Sample, Schema
from dekey.data.dataset import PictureFiles
from dekey.errors import DekeyError
from dekey.formats import FORMATS, read, recognise, write
from dekey.formats.fitting import fitted

SECONDS = 20
# So many files are read between two writings of the result.
PART = 2000
# Larger files say nothing more about a reader and take longer.
MAX_BYTES = 120_000
_PICTURES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".mp4", ".avi"}


@dataclass(frozen=True)
class Seed:
    """A sound sample: a folder that is copied, the label file or folder in it, its format, the files that may be changed."""

    format: str
    folder: Path
    entry: str
    targets: tuple[str, ...]


class _TooLong(BaseException):
    """Raised by the alarm; no reader may catch it."""


def own_seeds(folder: Path) -> list[Seed]:
    """Write a small data set in every format that can be written, with its pictures beside it."""
    import cv2

    rng = np.random.default_rng(5)
    images = folder / "own" / "images"
    images.mkdir(parents=True)
    schema = Schema.create(["tube"], ["head", "tail", "eye_left", "eye_right"], edges=[(0, 1)])
    samples = []
    for number in range(3):
        cv2.imwrite(str(images / f"{number}.png"), rng.integers(0, 255, (24, 32, 3), dtype=np.uint8))
        things = Instances.create(rng.uniform(2, 20, (1, 4, 2)), [[1, 1, 22, 21]])
        samples.append(Sample(images / f"{number}.png", (24, 32), things, number + 1, np.array([number + 1])))
    dataset = Dataset.from_samples(schema, samples)
    seeds = []
    for name, known in FORMATS.items():
        if known.write is None:
            continue
        place = folder / name
        shutil.copytree(images, place / "images")
        here = PictureFiles(place / "images", [f"{number}.png" for number in range(3)])
        entry = f"labels{known.suffix}"
        write(fitted(Dataset(**{**vars(dataset), "pictures": here}), known), place / entry, format=name)
        seeds.append(Seed(name, place, entry, _targets(place)))
    return seeds


def real_seeds(data: Path, folder: Path) -> Iterator[Seed]:
    """Copy what of the real files is small enough and read by some format."""
    for source in sorted(path for path in data.iterdir() if path.is_dir()):
        found = []
        for path in [source, *sorted(source.rglob("*"))]:
            small = path.is_dir() or (path.suffix.lower() not in _PICTURES and 0 < path.stat().st_size <= MAX_BYTES)
            if not small:
                continue
            try:
                found.append((recognise(path), path))
            except DekeyError:
                continue
        if not found:
            continue
        place = folder / f"real_{source.name}"
        place.mkdir()
        for path in source.rglob("*"):
            if path.is_file() and path.stat().st_size <= MAX_BYTES:
                (place / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place / path.relative_to(source))
        for name, path in found:
            own = tuple(each for each in _targets(place) if path.is_dir() or each == str(path.relative_to(source)))
            if own:
                yield Seed(name, place, str(path.relative_to(source)), own)


def _targets(place: Path) -> tuple[str, ...]:
    files = (path for path in sorted(place.rglob("*")) if path.is_file() and path.suffix.lower() not in _PICTURES)
    return tuple(str(path.relative_to(place)) for path in files if 0 < path.stat().st_size <= MAX_BYTES)


def attempt(seed: Seed, rng: random.Random) -> dict[str, Any] | None:
    """Change one file of a sample, read the sample, and put the file back; gives a finding or None."""
    target = seed.folder / rng.choice(seed.targets)
    sound = target.read_bytes()
    content, how = mutations.mutate(sound, rng)
    target.write_bytes(content)
    entry = seed.folder / seed.entry
    problems = rng.choice(("raise", "drop", "keep"))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            what = _wrong(entry, seed, problems)
    except _TooLong:
        what = f"took longer than {SECONDS} s"
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        last = next((frame for frame in reversed(frames) if "dekey" in frame.filename), frames[-1])
        where = f"{Path(last.filename).name}:{last.lineno} in {last.name}"
        what = f"{type(error).__name__} at {where}: {str(error)[:120]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        target.write_bytes(sound)
    if what is None:
        return None
    return {
        "format": seed.format,
        "sample": seed.folder.name,
        "file": str(target.relative_to(seed.folder)),
        "how": how,
        "what": what,
    }


def _wrong(entry: Path, seed: Seed, problems: Any) -> str | None:
    names = [seed.format]
    try:
        known = recognise(entry)
        names += [known] if known != seed.format else []
    except DekeyError:
        pass
    for name in names:
        try:
            dataset = read(entry, format=name, problems=problems)
        except DekeyError as error:
            if "\n" in str(error):
                return f"the sentence has two lines: {str(error)[:80]!r}"
            continue
        objects = dataset.instances
        if not np.isfinite(objects.keypoints[objects.labelled]).all():
            return "a labelled keypoint has no coordinates"
        if len(objects) and not (objects.labels.min() >= 0 and objects.labels.max() < len(dataset.schema.classes)):
            return "an object has a class that does not exist"
        if not np.isin(objects.visibility, (0, 1, 2)).all():
            return "a visibility is none of 0, 1, 2"
        root = os.path.realpath(seed.folder)
        for picture in dataset.pictures:
            if isinstance(picture, Path) and os.path.commonpath([root, os.path.realpath(picture)]) != root:
                return f"a picture lies outside: {str(picture)[-60:]}"
    return None


def _alarmed(*_: object) -> None:
    raise _TooLong


def fuzz(seeds: Sequence[Seed], files: int, seed: int, first: int = 0) -> dict[str, Any]:
    """Read changed files by their numbers, from `first` to `files`; every format gets as many as every other.

    Returns:
        Counts by format, and the findings, each kind of them once with how often it came.
    """
    signal.signal(signal.SIGPROF, _alarmed)
    by_format: dict[str, list[Seed]] = {}
    for each in seeds:
        by_format.setdefault(each.format, []).append(each)
    names = sorted(by_format)
    result: dict[str, Any] = {"files": 0, "formats": dict.fromkeys(names, 0), "findings": []}
    for number in range(first, files):
        name, rng = names[number % len(names)], random.Random(f"{seed}/{number}")
        found = attempt(rng.choice(by_format[name]), rng)
        one = {**found, "number": number, "times": 1} if found else None
        result = together(result, {"files": 1, "formats": {name: 1}, "findings": [one] if one else []})
    return result


def together(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Give the result of two parts of a run; of a kind of finding the first stays, with the times of both."""
    kinds: dict[str, dict[str, Any]] = {}
    for each in [*one["findings"], *other["findings"]]:
        kind = each["format"] + ": " + each["what"].partition(": ")[0]
        kinds[kind] = {**kinds[kind], "times": kinds[kind]["times"] + each["times"]} if kind in kinds else each
    formats = {name: count + other["formats"].get(name, 0) for name, count in one["formats"].items()}
    return {"files": one["files"] + other["files"], "formats": formats, "findings": list(kinds.values())}


def _before(path: Path, seed: int, samples: int) -> dict[str, Any]:
    """Give the result of an earlier run of the same samples and code to go on with.

    Raises:
        SystemExit: if there is none, or it was another run.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SystemExit(f"there is no result to go on with: {error}; leave --resume out") from error
    now = {"seed": seed, "samples": samples, "commit": record.commit()}
    if any(found.get(key) != value for key, value in now.items()):
        raise SystemExit(f"{path} was made with another seed, other samples or other code; leave --resume out")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="read label files that were made wrong")
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=record.ROOT.parent / "shared" / "data" / "formats")
    parser.add_argument("--name", default="fuzz_formats", help="name of the result")
    parser.add_argument("--resume", action="store_true", help="go on with the result of that name")
    arguments = parser.parse_args()
    begun = record.facts()
    with tempfile.TemporaryDirectory() as folder:
        seeds = own_seeds(Path(folder))
        if arguments.data.is_dir():
            seeds += real_seeds(arguments.data, Path(folder))
        found: dict[str, Any] = {
            "files": 0,
            "formats": dict.fromkeys(sorted({each.format for each in seeds}), 0),
            "findings": [],
        }
        seconds = 0.0
        if arguments.resume:
            before = _before(record.RESULTS / f"{arguments.name}.json", arguments.seed, len(seeds))
            found, seconds = {key: before[key] for key in found}, float(before["cpu_seconds"])
            begun |= {"date": before["date"]}
        # CPU seconds: the work is long, and other work may share the core.
        start = time.process_time()
        while found["files"] < arguments.files:
            stop = min(found["files"] + PART, arguments.files)
            found = together(found, fuzz(seeds, stop, arguments.seed, found["files"]))
            payload = {"benchmark": "fuzz_formats", "seed": arguments.seed, "samples": len(seeds), **found}
            payload["cpu_seconds"] = round(seconds + time.process_time() - start, 1)
            path = record.write(arguments.name, payload, begun)
            print(f"{found['files']:,} files, {len(found['findings'])} kinds of findings: {path}", flush=True)
    sys.exit(1 if found["findings"] else 0)


if __name__ == "__main__":
    main()
