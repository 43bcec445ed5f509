"""`Dataset`: a schema with its samples, held in columns, so that a million records open without touching an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from dekey.data.frames import Frame
from dekey.data.images import ReducedImage, read_header, read_reduced
from dekey.data.instances import Instances
from dekey.data.schema import Schema
from dekey.errors import DekeyError

Picture = Path | NDArray[np.uint8] | Frame


class PictureFiles(Sequence[Path]):
    """Image files in or below one folder, kept as strings; a `Path` is made when one is asked for.

    Attributes:
        folder: where the names start.
        names: S names as the annotation file writes them, with forward slashes.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> PictureFiles: ...
    def __getitem__(self, index: int | slice) -> Path | PictureFiles:
        if isinstance(index, slice):
            return PictureFiles(self.folder, self.names[index])
        return self.folder / self.names[index]

    def take(self, indices: NDArray[np.int64]) -> PictureFiles:
        """Give these files, in this order."""
        return PictureFiles(self.folder, [self.names[int(index)] for index in indices])


@dataclass(frozen=True)
class Problem:
    """Something wrong or doubtful in a data set.

    Attributes:
        kind: a fixed word such as ``missing-image``, the same in every report.
        severity: an ``error`` stops training, a ``warning`` does not.
        message: what was found and what was expected.
        advice: what to do about it.
        image: name of the picture, where one is concerned.
        annotation_id: id of the annotation, where one is concerned.
        doubt: of findings that are a matter of degree, 0 to 1; it ranks findings of a kind and is no probability.
        keypoints: names of the keypoints concerned.
        expected: where each of them would be expected, x, y px of the image's continuous frame.
        other: the other image of a pair, with its file where that is another one.
        annotation_ids: of a finding about several objects, the ids of all of them; in the file `other` where that is one.
        images: of a finding about several images, the names of all of them.
    """

    kind: str
    severity: Literal["error", "warning"]
    message: str
    advice: str
    image: str | None = None
    annotation_id: int | None = None
    doubt: float | None = None
    keypoints: tuple[str, ...] = ()
    expected: tuple[tuple[float, float], ...] = ()
    other: str | None = None
    annotation_ids: tuple[int, ...] = ()
    images: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = [
            f"image {self.image}" if self.image else "",
            f"annotation {self.annotation_id}" if self.annotation_id is not None else "",
        ]
        prefix = ", ".join(part for part in where if part)
        return f"{prefix + ': ' if prefix else ''}{self.message}; {self.advice}"


@dataclass(frozen=True, eq=False)
class Sample:
    """An image with its instances; the pixels are read when asked for.

    Attributes:
        picture: path of the image file, the image itself as (H, W, 3) uint8 RGB, or a frame of a video or package.
        size: (H, W) px as the annotation file states it.
        instances: the N annotated objects, in the image's continuous frame.
        image_id: id of the image in its file.
        annotation_ids: (N,) int64 ids of the objects in their file.
    """

    picture: Picture
    size: tuple[int, int]
    instances: Instances
    image_id: int
    annotation_ids: NDArray[np.int64]

    @property
    def name(self) -> str:
        """File name of the image, or its id where it has no file."""
        return self.picture.name if isinstance(self.picture, Path | Frame) else f"image {self.image_id}"

    def read_image(self) -> NDArray[np.uint8]:
        """Decode the image to (H, W, 3) uint8 RGB.

        Raises:
            DekeyError: if the file is missing or broken, or its size is not the annotated one.
        """
        return self.read_reduced().pixels

    def read_reduced(self, magnification: float = 1.0) -> ReducedImage:
        """Decode the image to no fewer pixels than a view of it shows, see `dekey.data.images.read_reduced`.

        Args:
            magnification: px of the view for a px of the image; of several views the largest.

        Raises:
            DekeyError: if the file is missing or broken, or its size is not the annotated one.
        """
        if isinstance(self.picture, Path):
            header = read_header(self.picture)
            self._check_size(header.size)
            return read_reduced(header, magnification)
        image = self.picture.read() if isinstance(self.picture, Frame) else self.picture
        self._check_size(image.shape[:2])
        return ReducedImage.whole(image)

    def _check_size(self, size: tuple[int, ...]) -> None:
        if size != self.size:
            raise DekeyError(
                f"image {self.name} is {size[1]}x{size[0]} but its annotation says {self.size[1]}x{self.size[0]}; "
                "the labels belong to another version of the image"
            )


@dataclass(frozen=True, eq=False)
class Dataset:
    """A schema and S samples in columns: 40 bytes and the name an image, 57 + 17·K bytes an object.

    A name takes 49 bytes and one a letter. A million images with one object of 17 keypoints each hold 0.46 GB.

    Attributes:
        schema: what can be found.
        pictures: S paths, arrays or frames; `PictureFiles` where they come from an annotation file.
        sizes: (S, 2) int64 H, W px.
        instances: all M objects of all images, in image order.
        starts: (S + 1,) int64; the objects of image i are ``instances[starts[i]:starts[i + 1]]``.
        image_ids: (S,) int64.
        annotation_ids: (M,) int64.
        problems: what the reader met; `dekey.data.problems.find_problems` adds what can be checked afterwards.
        category_ids: C ids of the classes in their file, or None where the file has none.
    """

    schema: Schema
    pictures: Sequence[Picture]
    sizes: NDArray[np.int64]
    instances: Instances
    starts: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    annotation_ids: NDArray[np.int64]
    problems: tuple[Problem, ...] = field(default=())
    category_ids: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        images, objects = len(self.pictures), len(self.instances)
        expected = {
            "sizes": (images, 2),
            "starts": (images + 1,),
            "image_ids": (images,),
            "annotation_ids": (objects,),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"Dataset.{name} has shape {getattr(self, name).shape}, expected {shape}")
        if self.instances.keypoints.shape[1] != len(self.schema.keypoints):
            raise ValueError(f"instances have {self.instances.keypoints.shape[1]} keypoints, schema {self.schema.keypoints}")

    @classmethod
    def from_samples(cls, schema: Schema, samples: Sequence[Sample], problems: Sequence[Problem] = ()) -> Dataset:
        """Put samples in columns."""
        counts = [len(sample.instances) for sample in samples]
        ids = [sample.annotation_ids for sample in samples]
        return cls(
            schema,
            [sample.picture for sample in samples],
            np.array([sample.size for sample in samples], dtype=np.int64).reshape(-1, 2),
            Instances.concatenate([sample.instances for sample in samples], len(schema.keypoints)),
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            np.array([sample.image_id for sample in samples], dtype=np.int64),
            np.concatenate(ids).astype(np.int64) if ids else np.zeros(0, dtype=np.int64),
            tuple(problems),
        )

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Sample:
        """Give sample `index`, 0 ≤ index < S (negative counts from the end); its arrays are views."""
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        own = slice(int(self.starts[index]), int(self.starts[index + 1]))
        height, width = self.sizes[index]
        return Sample(
            self.pictures[index],
            (int(height), int(width)),
            self.instances[own],
            int(self.image_ids[index]),
            self.annotation_ids[own],
        )

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def picture_name(self, index: int) -> str:
        """Give the name of an image as its file writes it, or ``image ID`` where it has no file."""
        if isinstance(self.pictures, PictureFiles):
            return self.pictures.names[index]
        picture = self.pictures[index]
        return picture.name if isinstance(picture, Path | Frame) else f"image {self.image_ids[index]}"

    def image_of_instance(self) -> NDArray[np.int64]:
        """Give (M,) int64: the position of each object's image."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def with_schema(self, schema: Schema) -> Dataset:
        """Give the same data under a schema of the same keypoints, for instance one with sigmas."""
        if schema.keypoints != self.schema.keypoints:
            raise ValueError("the schema names other keypoints than the data")
        return replace(self, schema=schema)

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> Dataset:
        """Give the data set of these samples, in this order."""
        chosen = np.asarray(indices, dtype=np.int64)
        counts = np.diff(self.starts)[chosen]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        objects = np.repeat(self.starts[chosen] - starts[:-1], counts) + np.arange(starts[-1])
        return Dataset(
            self.schema,
            (
                self.pictures.take(chosen)
                if isinstance(self.pictures, PictureFiles)
                else [self.pictures[int(index)] for index in chosen]
            ),
            self.sizes[chosen],
            self.instances[objects],
            starts,
            self.image_ids[chosen],
            self.annotation_ids[objects],
            self.problems,
            self.category_ids,
        )

    def select_objects(self, keep: NDArray[np.bool_]) -> Dataset:
        """Give the data set with the objects where `keep` (M,) is true; every image stays."""
        before = np.concatenate([[0], np.cumsum(keep)]).astype(np.int64)
        return replace(
            self, instances=self.instances[keep], starts=before[self.starts], annotation_ids=self.annotation_ids[keep]
        )

    def split(self, fraction: float, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Divide at random into two, the second with about `fraction` of the images and at least one.

        The same seed gives the same division; both parts keep the order of the file.

        Raises:
            DekeyError: if there are fewer than two images.
        """
        if len(self) < 2:
            raise DekeyError(
                f"found {len(self)} image(s), expected at least 2 to hold some out; label more or name a validation file"
            )
        order = np.random.default_rng(seed).permutation(len(self))
        held_out = min(max(round(len(self) * fraction), 1), len(self) - 1)
        return self.subset(np.sort(order[held_out:])), self.subset(np.sort(order[:held_out]))
