"""SLEAP: ``.slp`` and ``.pkg.slp``, by sleap-io (extra ``formats``).

Layout: HDF5 with skeletons (named nodes, edges, symmetries), videos, frames and instances; a package holds its frames as image
files inside. Evidence: sleap-io's ``io/slp.py``, which reads and writes it here.

Frame: the centre of the first pixel is (0, 0) in the file and (0.5, 0.5) here; 0.5 is added when read and taken off when
written. Evidence: SLEAP, ``sleap/io/format/hdf5.py``: "1.1 points with midpixel coordinates, top left corner at (-0.5, -0.5)",
and its window shifts the image by half a pixel accordingly (``gui/widgets/video.py``, ``_add_pixmap``). Files of format 1.0
counted from the corner; sleap-io takes their half pixel off.

Visibility: a point that is visible and has coordinates is visible here, any other unlabelled. SLEAP's "non-visible" means
"occluded or not present" (``docs/guides/gui.md``), and the tool gives it some place all the same, so that its coordinates say
nothing; SLEAP's own ``numpy()`` drops them.

A skeleton is a class, its symmetries are the mirror table. Predicted instances are ignored, tracks too. A frame without
labelled instances is left out unless it is marked as negative, which is an image without objects.

Images: frames inside the file are decoded when asked for, so are those of a video; sequences of images are files. Videos and
images are looked for beside the file or below `images`, by path or by name; absolute paths and addresses of the file are not
followed. For other formats, which name image files, `dekey.data.frames.save_frames` writes the frames out.

Written is a ``.slp`` that names the image files; each run of images of one size is a video of its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from dekey.data.dataset import Dataset, Problem
from dekey.data.instances import UNLABELLED, VISIBLE
from dekey.data.problem_kinds import problem
from dekey.errors import DekeyError
from dekey.formats.coco_categories import Categories, read_categories
from dekey.formats.files import HDF5_SIGN, checked_file, extra_module
from dekey.formats.gather import Objects, build_dataset
from dekey.formats.hdf5 import check_inside, check_records
from dekey.formats.sleap_pictures import frame_pictures, video_title
from dekey.formats.sleap_writing import sleap_io_module, write_file

HOLDS: Final = frozenset(
    {
        "several_objects",
        "classes",
        "unlabelled_points",
        "images_without_objects",
        "class_names",
        "class_keypoints",
        "keypoint_names",
        "unused_names",
        "order",
        "edges",
        "outside_points",
        "image_sizes",
        "exact_coordinates",
    }
)
_HEAD_BYTES: Final = 65_536
_MAX_BYTES: Final = 8 * 1024**3


def recognises(path: Path) -> bool:
    """Tell by the first 64 KiB whether a file is HDF5 with SLEAP's tables."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
            size = path.stat().st_size
            stream.seek(max(size - _HEAD_BYTES, 0))
            text = head + stream.read()
    except OSError:
        return False
    return head.startswith(HDF5_SIGN) and all(name in text for name in (b"videos_json", b"instances", b"points"))


def read(path: Path, *, images: Path | None = None, keep: bool = False) -> Dataset:
    """Read a SLEAP file without decoding a frame.

    Args:
        path: the file.
        images: folder with the videos or images; by default the file's own.
        keep: has no effect, since an instance is readable or the file is not.

    Raises:
        DekeyError: if sleap-io is not installed or cannot read the file, nothing in it is labelled, or no frame can be found.
    """
    labels = _load(checked_file(path))
    problems: list[Problem] = []
    categories = _categories(labels.skeletons, path, problems)
    frames = [frame for frame in labels.labeled_frames if frame.user_instances or frame.is_negative]
    for frame in labels.labeled_frames:
        if not (frame.user_instances or frame.is_negative):
            what = f"frame {frame.frame_idx} of {video_title(frame.video)} has no labelled instance"
            problems.append(problem("unlabelled-image", what))
    if not any(frame.user_instances for frame in frames):
        raise DekeyError(
            f"{path} holds no labelled instance ({len(labels.labeled_frames)} frames); label some in SLEAP and save"
        )
    pictures, found = frame_pictures(path, labels.videos, frames, images, problems)
    dataset = build_dataset(categories.schema, pictures, _objects(frames, labels, categories), problems, offset=0.5, keep=keep)
    if found is None:
        return dataset
    return replace(dataset, pictures=[found[index] for index in np.flatnonzero(pictures.sound).tolist()])


def write(dataset: Dataset, path: Path) -> None:
    """Write a data set as ``.slp``; an existing file is replaced only when the new one is whole.

    Image names are written relative to the file's folder where all images lie in it, else relative to the folder that
    holds them all.

    Raises:
        DekeyError: if an image has no file, the folder does not exist, or sleap-io is not installed.
    """
    write_file(dataset, path)


def _load(path: Path) -> Any:
    """Load the labels without opening a video.

    Raises:
        DekeyError: if the file is no sound SLEAP file, or too large.
    """
    sio, h5py = sleap_io_module(), extra_module("h5py")
    try:
        with h5py.File(path, "r") as file:
            check_inside(file, path)
            check_records(file, path)
            for name in ("frames", "instances", "points", "pred_points", "videos_json"):
                link = file.get(name, getlink=True)
                if isinstance(link, h5py.ExternalLink | h5py.SoftLink):
                    raise DekeyError(f"{path} keeps '{name}' in another file, which dekey does not follow; save it as one file")
                if name in file and file[name].size * file[name].dtype.itemsize > _MAX_BYTES:
                    raise DekeyError(f"{path} holds more than {_MAX_BYTES / 1e9:.0f} GB of '{name}'; split it")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return sio.load_slp(str(path), open_videos=False)
    except DekeyError:
        raise
    except Exception as error:
        reason = str(error).split("\n")[0][:200]
        raise DekeyError(
            f"{path} cannot be read by sleap-io ({type(error).__name__}: {reason}); save it again in SLEAP"
        ) from error


def _categories(skeletons: Sequence[Any], path: Path, problems: list[Problem]) -> Categories:
    """Make a class of each skeleton; one without a name, or with that of another, gets its number."""
    if not any(skeleton.nodes for skeleton in skeletons):
        raise DekeyError(f"{path} has no skeleton with nodes; make one in SLEAP")
    records, names = [], []
    for number, skeleton in enumerate(skeletons, start=1):
        name = skeleton.name or f"skeleton {number}"
        names.append(f"{name} {number}" if name in names else name)
        record: dict[str, Any] = {"id": number, "name": names[-1], "keypoints": list(skeleton.node_names)}
        record["skeleton"] = [[one + 1, other + 1] for one, other in skeleton.edge_inds]
        if any(each.symmetries for each in skeletons):  # where one has any, a node without one is its own mirror image
            flip = list(range(len(skeleton.nodes)))
            for one, other in skeleton.symmetry_inds:
                flip[one], flip[other] = other, one
            record["flip_indices"] = flip
        records.append(record)
    return read_categories(records, 0, problems)


def _objects(frames: Sequence[Any], labels: Any, categories: Categories) -> Objects:
    rows = [(index, instance) for index, frame in enumerate(frames) for instance in frame.user_instances]
    points = np.full((len(rows), len(categories.schema.keypoints), 3), np.nan)
    points[..., 2] = UNLABELLED
    classes = {id(skeleton): number for number, skeleton in enumerate(labels.skeletons)}
    chosen = [classes[id(instance.skeleton)] for _, instance in rows]
    for row, (_, instance) in enumerate(rows):
        xy = np.asarray(instance.points["xy"], dtype=np.float64)
        seen = np.asarray(instance.points["visible"], dtype=np.bool_) & np.isfinite(xy).all(axis=1)
        triples = np.column_stack([np.where(seen[:, None], xy, np.nan), np.where(seen, VISIBLE, UNLABELLED)])
        points[row, categories.columns[chosen[row]]] = triples
    return Objects(
        np.array([index for index, _ in rows], dtype=np.int64),
        np.array(chosen, dtype=np.int64),
        points,
        np.full((len(rows), 4), np.nan),
        [f"frame {frames[index].frame_idx}" for index, _ in rows],
    )
