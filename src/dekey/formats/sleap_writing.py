"""Writing SLEAP files, see `dekey.formats.sleap`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np

from dekey.data.dataset import Dataset
from dekey.errors import DekeyError
from dekey.files import replacing
from dekey.formats.files import extra_module
from dekey.formats.pictures import written_names

# Digits kept after the point; it takes off what adding and subtracting the half pixel leaves behind.
_DIGITS: Final = 9


def sleap_io_module() -> Any:
    """Import sleap-io, whatever it warns of.

    Raises:
        DekeyError: if it is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return extra_module("sleap_io")


def write_file(dataset: Dataset, path: Path) -> None:
    """Write the file, see `dekey.formats.sleap.write`."""
    names = written_names(dataset, path.parent)
    sio, schema = sleap_io_module(), dataset.schema
    columns = [np.flatnonzero(row) for row in schema.present]
    skeletons = [_skeleton(sio, dataset, row) for row in range(len(schema.classes))]
    videos, frames = [], []
    starts = [index for index in range(len(dataset)) if not index or (dataset.sizes[index] != dataset.sizes[index - 1]).any()]
    for start, stop in zip(starts, [*starts[1:], len(dataset)], strict=True):
        height, width = dataset.sizes[start].tolist()
        own = names[start:stop]
        described = {
            "type": "ImageVideo",
            "shape": [len(own), height, width, 3],
            "filename": own[0],
            "filenames": own,
            "height_": height,
            "width_": width,
            "channels_": 3,
            "grayscale": False,
        }
        videos.append(sio.Video(filename=own, open_backend=False, backend_metadata=described))
        for index in range(start, stop):
            objects = dataset[index].instances
            points = np.where(objects.labelled[..., None], (objects.keypoints - 0.5).round(_DIGITS), np.nan)
            instances = [
                sio.Instance.from_numpy(points[row, columns[label]], skeleton=skeletons[label])
                for row, label in enumerate(objects.labels.tolist())
            ]
            frame = sio.LabeledFrame(video=videos[-1], frame_idx=index - start, instances=instances, is_negative=not instances)
            frames.append(frame)
    labels = sio.Labels(labeled_frames=frames, videos=videos, skeletons=skeletons)
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            sio.save_slp(labels, str(temporary), embed=False, verbose=False)
        except ValueError as error:  # the skeletons take more than the 64 kB that the file has for them
            reason = str(error).split(". ")[0]
            raise DekeyError(
                f"{len(schema.classes)} classes of {len(schema.keypoints)} keypoints do not fit into a SLEAP file ({reason}); "
                "write fewer classes, or another format"
            ) from error


def _skeleton(sio: Any, dataset: Dataset, row: int) -> Any:
    schema = dataset.schema
    own = [index for index, present in enumerate(schema.present[row].tolist()) if present]
    names = schema.keypoints
    pairs = (
        [] if schema.mirror is None else [(a, int(b)) for a, b in enumerate(schema.mirror) if a < b and a in own and b in own]
    )
    return sio.Skeleton(
        nodes=[names[index] for index in own],
        edges=[(names[a], names[b]) for a, b in schema.edges.tolist() if a in own and b in own],
        symmetries=[(names[a], names[b]) for a, b in pairs],
        name=schema.classes[row],
    )
