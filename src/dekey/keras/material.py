"""What a Keras model is trained and measured on: label files and data sets, checked against the model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dekey.data import Dataset, merge
from dekey.data.problems import find_problems
from dekey.errors import DekeyError
from dekey.formats import read
from dekey.runtime import Manifest
from dekey.training.prepare import check_region, views_of
from dekey.training.scenes import with_boxes
from dekey.training.views import Views

Source = str | os.PathLike[str] | Dataset | Sequence[str | os.PathLike[str]]
# Decoded pictures that a data set may keep, bytes.
MEMORY = 1 << 30


def dataset_of(source: Source) -> Dataset:
    """Read a label file or several, joined by names; a data set is given back.

    Raises:
        DekeyError: if a file cannot be read or has errors, or the source is something else.
    """
    if isinstance(source, Dataset):
        return source
    files = [source] if isinstance(source, (str, os.PathLike)) else list(source) if isinstance(source, (list, tuple)) else []
    if not files or not all(isinstance(file, (str, os.PathLike)) for file in files):
        raise DekeyError(
            f"found {type(source).__name__}, expected a label file, a list of them or a Dataset; pictures alone have no labels"
        )
    parts = []
    for file in files:
        part = read(Path(file))
        errors = [problem for problem in find_problems(part) if problem.severity == "error"]
        if errors:
            rest = f" (and {len(errors) - 1} more problems; `dekey inspect {file}` lists them)" if len(errors) > 1 else ""
            raise DekeyError(f"{file}: {errors[0]}{rest}")
        parts.append(part)
    return parts[0] if len(parts) == 1 else merge(parts)


def views_for(manifest: Manifest, dataset: Dataset) -> Views:
    """Give what a model is shown of a data set.

    Raises:
        DekeyError: if classes or keypoints are not those of the model, or it cannot learn from the data.
    """
    schema = manifest.schema_found
    if (schema.classes, schema.keypoints) != (dataset.schema.classes, dataset.schema.keypoints):
        raise DekeyError(
            f"the data have classes {', '.join(dataset.schema.classes)} with keypoints {', '.join(dataset.schema.keypoints)}, "
            f"the model {', '.join(schema.classes)} with {', '.join(schema.keypoints)}; expected the same in the same order"
        )
    if manifest.kind == "center":
        dataset = with_boxes(dataset)
    check_region(manifest.kind, manifest.region, dataset, dataset)  # type: ignore[arg-type]
    return views_of(manifest.kind, dataset, manifest.region, manifest.input_size, manifest.padding, MEMORY)  # type: ignore[arg-type]
