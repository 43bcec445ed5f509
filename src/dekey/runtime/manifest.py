"""What a model file must carry so that whoever opens it needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dekey.data.schema import Schema
from dekey.errors import DekeyError

MANIFEST_KEY = "dekey.manifest"
MANIFEST_VERSION = 1

# A model file comes from anywhere: what it states must not make the reader take all memory.
Length = Annotated[int, Field(ge=1, le=8192)]
Share = Annotated[float, Field(ge=0, le=1)]


class Manifest(BaseModel):
    """The facts beside the weights; stored as JSON in the file's metadata under `MANIFEST_KEY`.

    Attributes:
        manifest_version: raised when a reader of this version could not understand the next.
        kind: model family.
        keypoint_schema: what the model finds, as `Schema.to_dict` gives it.
        input_size: (H, W) px of the network's input.
        region: the model was trained on crops around boxes, or on whole images.
        padding: how much larger than the box a crop is.
        fill: value outside the image.
        channel_order: order of the three colours in the input.
        frame: the coordinate convention of every number that goes in or comes out.
        default_threshold: score from which a keypoint is taken for found.
        objects: N, the answers that the network gives for each input; padded with score 0.
        finds_boxes: the boxes come from the network, and with them which class an object is of and where it lies; False
            where boxes are given to the model or are the hull of its keypoints.
        object_threshold: score from which an object is taken for found.
        second_look: how large an object is shown in a second look at it, the longer side of its box as a share of the input's
            shorter side; 0 where there is none. See `dekey.runtime.second_look`.
        visibility_temperature: what the logits of visibility were divided by inside the graph; told for the record.
        architecture: what the network is built from; enough to build it again.
        metrics: figures on the data held out during training.
        origin: where the weights started, with what data and versions they were trained.
        licence: licence of the weights as stated by who trained them.
        precision: what the file was exported and measured for: bf16 is computed where the processor has it, int8 is in the
            graph itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    manifest_version: Literal[1] = 1
    kind: str
    keypoint_schema: dict[str, Any]
    input_size: tuple[Length, Length]
    region: Literal["box", "image"]
    padding: float = Field(ge=1, le=100)
    fill: int = Field(default=0, ge=0, le=255)
    channel_order: Literal["RGB"] = "RGB"
    frame: str = "continuous pixels: the top-left corner of the first pixel is (0, 0), its centre (0.5, 0.5)"
    default_threshold: Share = 0.2
    objects: int = Field(default=1, ge=1, le=1000)
    finds_boxes: bool = False
    object_threshold: Share = 0.0
    second_look: Share = 0.0
    visibility_temperature: float = Field(default=1.0, gt=0)
    architecture: dict[str, Any]
    metrics: dict[str, float] = {}
    origin: dict[str, str] = {}
    licence: str = "not stated"
    precision: Literal["fp32", "bf16", "int8"] = "fp32"

    @model_validator(mode="after")
    def _crops_hold_one_object(self) -> Manifest:
        if self.region == "box" and (self.finds_boxes or self.objects > 1):
            raise ValueError(
                "a model of crops answers with one object for each box, expected objects 1 and no boxes of its own"
            )
        return self

    @property
    def schema_found(self) -> Schema:
        """The schema as an object."""
        return Schema.from_dict(self.keypoint_schema)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], source: str) -> Manifest:
        """Read the manifest out of a file's metadata.

        Raises:
            DekeyError: if there is none, or it is of a version or form that this dekey does not know.
        """
        if MANIFEST_KEY not in metadata:
            raise DekeyError(f"{source} carries no dekey manifest, expected a model that `dekey export` or `dekey train` wrote")
        text = metadata[MANIFEST_KEY]
        version = _version(text)
        if version is not None and version > MANIFEST_VERSION:
            raise DekeyError(
                f"{source} was written by a newer dekey (its manifest is of version {version}, this dekey reads "
                f"{MANIFEST_VERSION}); update dekey"
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise DekeyError(
                f"the manifest of {source} does not fit this dekey ({where}: {first['msg']}); export again"
            ) from error

    def to_metadata(self) -> dict[str, str]:
        """Give what goes into the file's metadata."""
        return {MANIFEST_KEY: self.model_dump_json()}


def _version(text: str) -> int | None:
    """Look up the version before the rest is judged: the rest may have changed with it."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    version = values.get("manifest_version") if isinstance(values, dict) else None
    return version if type(version) is int else None
