"""A task of Label Studio: which of its annotations counts, its image, and its regions joined into objects."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from dekey.data.dataset import Problem
from dekey.data.images import IMAGE_SUFFIXES
from dekey.data.problem_kinds import problem

_KEYPOINTS: Final = frozenset({"keypointlabels", "keypoint"})
_BOXES: Final = frozenset({"rectanglelabels", "rectangle"})
_OCCLUDED: Final = frozenset({"occluded", "hidden", "invisible"})
# What an upload puts before the name of a file.
_UPLOAD: Final = re.compile(r"^[0-9a-f]{8}-")


@dataclass
class Thing:
    """An object of a task.

    Attributes:
        place: where it is in the file.
        label: its class, "" where no box names one.
        box: x1, y1, x2, y2 in per cent, NaN where there is none.
        keypoints: x, y in per cent and whether it is occluded, by name.
        broken: whether a problem has been told of it.
    """

    place: str
    label: str = ""
    box: tuple[float, float, float, float] = (math.nan,) * 4
    keypoints: dict[str, tuple[float, float, bool]] = field(default_factory=dict)
    broken: bool = False


def labelled_result(task: dict[str, Any], problems: list[Problem], keep: bool) -> list[dict[str, Any]] | None:
    """Give the results of the annotation that counts, None where the task is not labelled or nobody can tell."""
    given = task.get("annotations", task.get("completions")) or []
    listed = given if isinstance(given, list) else []
    annotations = [each for each in listed if isinstance(each, dict) and not each.get("was_cancelled")]
    truths = [each for each in annotations if each.get("ground_truth")]
    reference = image_reference(task)
    if len(truths) == 1:
        annotations = truths
    if not annotations:
        problems.append(problem("unlabelled-image", f"task {task.get('id')} has no annotation", reference))
        return None
    if len(annotations) > 1:
        what = f"task {task.get('id')} has {len(annotations)} annotations, {len(truths)} of them marked as ground truth"
        problems.append(problem("several-annotations", what, reference))
        if not keep:
            return None
    result = annotations[-1].get("result")
    if not isinstance(result, list) or not all(isinstance(each, dict) for each in result):
        problems.append(problem("unreadable-record", f"task {task.get('id')} has no list 'result'", reference))
        return None
    return result


def image_reference(task: dict[str, Any]) -> str:
    """Give what the task's data call its image, "" where nothing looks like one."""
    data = task.get("data", {})
    texts = {key: value for key, value in data.items() if isinstance(value, str)} if isinstance(data, dict) else {}
    for key in ("image", "img", *texts):
        if key in texts and _suffix(_path(texts[key])) in IMAGE_SUFFIXES:
            return texts[key]
    return texts.get("image", "")


def _suffix(path: str) -> str:
    with suppress(ValueError):  # such as a bracket that stays open, which a name may hold and an address may not
        path = urlsplit(path).path
    return PurePosixPath(path).suffix.lower()


def readings(references: Sequence[str], folders: Sequence[Path]) -> list[tuple[Path, Sequence[str]]]:
    """List where the images may lie: by path, by name, by name as it was before the upload."""
    paths = [_path(reference) for reference in references]
    names = [path.replace("\\", "/").rsplit("/", 1)[-1] for path in paths]
    short = [_UPLOAD.sub("", name) for name in names]
    return [(folder, own) for own in (paths, names, short) for folder in folders]


def _path(reference: str) -> str:
    """Take the path of a file out of a reference."""
    try:
        parts = urlsplit(reference)
    except ValueError:
        return reference
    given = parse_qs(parts.query).get("d")
    if "local-files" in parts.path and given:
        return given[0].lstrip("/")
    if len(parts.scheme) > 1:  # one letter is a drive of Windows
        return unquote(parts.path).lstrip("/")
    if reference.startswith("/data/"):
        return unquote(parts.path).removeprefix("/data/").removeprefix("upload/")
    return reference


def things(result: Sequence[dict[str, Any]], image: str, problems: list[Problem]) -> list[Thing]:
    """Join the regions of a task into objects, in the order of their first regions."""
    regions, leaders = _regions(result)

    def leader(key: str) -> str:
        while leaders[key] != key:
            leaders[key] = leaders[leaders[key]]
            key = leaders[key]
        return key

    parts: dict[str, list[str]] = {}
    for each in result:
        ends = (
            [each.get("from_id"), each.get("to_id")]
            if each.get("type") == "relation"
            else [each.get("id"), each.get("parentID")]
        )
        one, other = (str(end) for end in ends)
        if one in regions and other in regions:
            leaders[leader(one)] = leader(other)
    for key in regions:
        parts.setdefault(leader(key), []).append(key)
    free = [keys[0] for keys in parts.values() if len(keys) == 1 and _is_point(regions[keys[0]])]
    objects, placed = [], False
    for keys in parts.values():
        if keys[0] in free and len(keys) == 1:
            if placed:
                continue
            keys, placed = free, True
        objects.append(_thing([regions[key] for key in keys], image, problems))
    return objects


def _regions(result: Sequence[dict[str, Any]]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Bring the results of each keypoint and box together, by id; the value gets their labels and choices."""
    regions: dict[str, dict[str, Any]] = {}
    for number, each in enumerate(result):
        kind, value = str(each.get("type")), each.get("value")
        key = str(each.get("id", f"#{number}"))
        if not isinstance(value, dict) or kind == "relation":
            continue
        plain = kind == "labels" and "x" in value and not {"points", "rle", "radiusX"} & value.keys()
        if kind in _KEYPOINTS | _BOXES or plain:
            point = kind in _KEYPOINTS or (plain and "height" not in value)
            region = regions.setdefault(key, {"key": key, "names": [], "choices": []})
            region |= {"point": point, "value": value, "rotation": each.get("image_rotation", 0)}
    for number, each in enumerate(result):
        key, value = str(each.get("id", f"#{number}")), each.get("value")
        if key in regions and isinstance(value, dict):
            for name in ("keypointlabels", "rectanglelabels", "labels", "choices"):
                given = value.get(name)
                words = [str(word) for word in given] if isinstance(given, list) else []
                target = regions[key]["choices" if name == "choices" else "names"]
                target += [word for word in words if word not in target]
    return regions, {key: key for key in regions}


def _is_point(region: dict[str, Any]) -> bool:
    return bool(region["point"])


def _thing(regions: Sequence[dict[str, Any]], image: str, problems: list[Problem]) -> Thing:
    boxes = [region for region in regions if not _is_point(region)]
    thing = Thing(f"region {(boxes or regions)[0]['key']}")

    def fault(kind: str, what: str) -> None:
        problems.append(problem(kind, f"{thing.place}: {what}", image))
        thing.broken = True

    if len(boxes) > 1:
        fault("ambiguous-group", f"{len(boxes)} boxes are joined with each other")
    for region in regions:
        names, value = region["names"], region["value"]
        if region["rotation"]:
            fault("unreadable-record", f"the image was turned by {region['rotation']} degrees in the tool; turn it back")
        elif len(names) != 1:
            fault("unreadable-record", f"region {region['key']} has the labels {names}, expected one")
        elif _is_point(region):
            x, y = _number(value.get("x")), _number(value.get("y"))
            if names[0] in thing.keypoints:
                fault("ambiguous-group", f"keypoint '{names[0]}' comes twice; relate each to its box")
            else:
                occluded = any(choice.lower() in _OCCLUDED for choice in region["choices"])
                thing.keypoints[names[0]] = (x, y, occluded)
        else:
            thing.label = names[0]
            x, y, width, height = (_number(value.get(side)) for side in ("x", "y", "width", "height"))
            if _number(value.get("rotation", 0)) != 0:
                fault("unreadable-box", "the box is turned, expected an upright one")
            elif not all(map(math.isfinite, (x, y, width, height))):
                fault("unreadable-box", "the box is not four numbers")
            else:
                thing.box = (x, y, x + width, y + height)
    return thing


def _number(value: Any) -> float:
    return float(value) if type(value) in (int, float) and abs(value) < 1e300 else math.nan
