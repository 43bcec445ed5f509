"""Where the pictures of a SLEAP file are: inside it, in videos, or image files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dekey.data.dataset import Picture, Problem
from dekey.data.problem_kinds import problem
from dekey.errors import DekeyError
from dekey.formats.files import extra_module
from dekey.formats.gather import Images, place_images
from dekey.formats.pictures import picture_files
from dekey.formats.references import likeliest
from dekey.formats.sleap_frames import EmbeddedFrame, VideoFrame, video_size


def video_title(video: Any) -> str:
    """Give the file name of a video, or of its first image."""
    name = video.filename[0] if isinstance(video.filename, list) else video.filename
    return str(name).replace("\\", "/").rsplit("/", 1)[-1]


def frame_pictures(
    path: Path, videos: Sequence[Any], frames: Sequence[Any], images: Path | None, problems: list[Problem]
) -> tuple[Images, list[Picture] | None]:
    """Find the picture of each frame; the list is None where all of them are image files.

    Raises:
        DekeyError: if none can be found.
    """
    folder = path.parent if images is None else images
    if all(isinstance(frame.video.filename, list) for frame in frames):
        return _image_files(path, frames, images, problems), None
    pictures: list[Picture] = []
    sizes: NDArray[np.int64] = np.zeros((len(frames), 2), dtype=np.int64)
    sound: NDArray[np.bool_] = np.ones(len(frames), dtype=np.bool_)
    sources = {id(video): _Source(path, folder, video) for video in videos}
    stems = _stems(videos)
    for index, frame in enumerate(frames):
        name = f"{stems[id(frame.video)]}_{frame.frame_idx:06d}.png"
        try:
            picture, sizes[index] = sources[id(frame.video)].picture(int(frame.frame_idx), name)
        except DekeyError as error:
            picture, sound[index] = Path(name), False
            problems.append(problem("missing-image", str(error).split(";")[0], name))
        pictures.append(picture)
    if not sound.any():
        raise DekeyError(f"{path}: none of the {len(frames)} frames can be used, the first because: {problems[-len(frames)]}")
    files, _ = picture_files(path, [f"{index}" for index in range(len(frames))], folder)
    return Images(files, sizes, sound), pictures


def _stems(videos: Sequence[Any]) -> dict[int, str]:
    """Give how the names of a video's frames begin, by its id: its title, and its number where several share that."""
    titles = [Path(video_title(video)).stem for video in videos]
    taken, stems = set(titles), {}
    for number, (video, title) in enumerate(zip(videos, titles, strict=True), 1):
        stem = title
        if titles.count(title) > 1:
            stem = f"{title}_video{number}"
            while stem in taken:
                stem += "_"
            taken.add(stem)
        stems[id(video)] = stem
    return stems


def _file_name(files: Sequence[Any], index: int) -> str:
    """Give the file of a frame; nothing, which is refused later, where the video has no such frame."""
    return str(files[index]).replace("\\", "/") if 0 <= index < len(files) else ""


def _image_files(path: Path, frames: Sequence[Any], images: Path | None, problems: list[Problem]) -> Images:
    names = [_file_name(frame.video.filename, int(frame.frame_idx)) for frame in frames]
    beside = [name.rsplit("/", 1)[-1] for name in names]
    names = [name if _is_inside(name) else last for name, last in zip(names, beside, strict=True)]
    folders = [path.parent, path.parent / "images"] if images is None else [images]
    folder, chosen = likeliest([(each, own) for own in (names, beside) for each in folders])
    sizes = np.array([_stated(frame.video) for frame in frames], dtype=np.int64).reshape(-1, 2)
    return place_images(path, chosen, images, problems, sizes=sizes, root=folder)


def _stated(video: Any) -> tuple[int, int]:
    """Give H, W as the file states them, 0, 0 where it does not."""
    shape = video.backend_metadata.get("shape")
    return (int(shape[1]), int(shape[2])) if isinstance(shape, list | tuple) and len(shape) == 4 else (0, 0)


def _is_inside(name: str) -> bool:
    """Tell whether a path stays in the folder where it starts."""
    return not Path(name).is_absolute() and ".." not in Path(name).parts and ":" not in name and "\0" not in name


class _Source:
    """Where the frames of one video come from; found when first asked for."""

    def __init__(self, labels: Path, folder: Path, video: Any) -> None:
        self._labels, self._folder, self._video = labels, folder, video
        self._rows: dict[int, int] | None = None
        self._size = (0, 0)
        self._reversed = False
        self._video_size: tuple[int, int, int] | None = None

    def picture(self, index: int, name: str) -> tuple[Picture, tuple[int, int]]:
        """Give the picture of a frame and its H, W.

        Raises:
            DekeyError: if the frame cannot be found.
        """
        metadata, filename = self._video.backend_metadata, self._video.filename
        if isinstance(filename, list):
            raise DekeyError(
                "it is an image file beside frames of videos, which dekey does not mix; save it as a file of its own"
            )
        if metadata.get("filename") == ".":
            return self._embedded(str(metadata.get("dataset", "")), index, name)
        given = str(filename).replace("\\", "/")
        inside = [given] if _is_inside(given) else []
        places = [self._folder / own for own in (*inside, given.rsplit("/", 1)[-1])]
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            raise DekeyError(f"the video {video_title(self._video)} does not lie in {self._folder}")
        if self._video_size is None:
            self._video_size = video_size(file)
        height, width, count = self._video_size
        if not 0 <= index < max(count, 1):
            raise DekeyError(f"frame {index} is none of the {count} frames of {file}")
        return VideoFrame(name, file, index), (height, width)

    def _embedded(self, dataset: str, index: int, name: str) -> tuple[Picture, tuple[int, int]]:
        if self._rows is None:
            self._open(dataset)
        assert self._rows is not None
        if index not in self._rows:
            raise DekeyError(f"frame {index} is not packed into {self._labels}")
        return EmbeddedFrame(name, self._labels, dataset, self._rows[index], self._reversed), self._size

    def _open(self, dataset: str) -> None:
        """Read which frames are packed, how large they are, and the order of their colours."""
        h5py = extra_module("h5py")
        try:
            with h5py.File(self._labels, "r") as file:
                data = file[dataset]
                numbers = data.parent["frame_numbers"][()] if "frame_numbers" in data.parent else range(len(data))
                self._rows = {int(number): row for row, number in enumerate(numbers)}
                if data.ndim == 4:
                    self._size = (int(data.shape[1]), int(data.shape[2]))
                else:
                    self._size = (int(data.attrs["height"]), int(data.attrs["width"]))
                old = float(file["metadata"].attrs.get("format_id", 1.0)) < 1.4
                self._reversed = str(data.attrs.get("channel_order", "BGR" if old else "RGB")) == "BGR"
        except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise DekeyError(f"the frames packed as '{dataset}' into {self._labels} cannot be read ({error})") from error
