"""CenterDetector: every object in the image with box, class, keypoints and their visibility, in one pass."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from dekey.codecs.cells import cells_around
from dekey.codecs.center import CenterCodec
from dekey.errors import DekeyError
from dekey.models.backbone import Backbone
from dekey.models.decoder import DeconvDecoder, Head
from dekey.models.losses import center_focal, giou, heatmap_cross_entropy

if TYPE_CHECKING:
    from dekey.models.base import Batch

# Balances the terms: a heatmap is wrong in many cells, a box in four lengths.
HEATMAP_WEIGHT = 0.15
BOX_WEIGHT = 2.0
VECTOR_WEIGHT = 2.0
# A map that starts at this probability does not drown the few objects in the many cells without one.
_RARE = math.log(0.01 / 0.99)


class CenterDetector(nn.Module):
    """Backbone, deconvolution decoder, and maps of centres, boxes and keypoints that `CenterCodec` reads.

    Args:
        backbone: the convolutional half.
        decoder: the deconvolutional half.
        codec: objects ↔ maps; its stride is the decoder's.
        input_size: (H, W) px.
        typical_size: root of the area of a typical object's box, px; the network starts by answering with it.
        peak_weight: extra weight of the peaks in the keypoints' cross-entropy.
        visibility_weight: weight of the visibility loss.

    Raises:
        DekeyError: if the input size is not a multiple of the backbone's stride, or the maps are too small to read.
    """

    kind = "center"
    mean: Tensor
    std: Tensor
    temperature: Tensor

    def __init__(
        self,
        backbone: Backbone,
        decoder: DeconvDecoder,
        codec: CenterCodec,
        input_size: tuple[int, int],
        typical_size: float = 64.0,
        peak_weight: float = 4.0,
        visibility_weight: float = 0.3,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder
        self.codec = codec
        self.check_input_size(input_size)
        self.input_size = input_size
        self.typical_cells = max(typical_size / codec.stride, 1.0)
        self.peak_weight = peak_weight
        self.visibility_weight = visibility_weight
        count = codec.keypoint_count
        self.heatmap_head = Head(decoder.channels, 2 + count, bias=_RARE)
        self.trunk = nn.Sequential(
            nn.Conv2d(decoder.channels, decoder.channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(decoder.channels),
            nn.ReLU(inplace=True),
        )
        self.center_head = Head(decoder.channels, codec.class_count, bias=_RARE)
        self.object_head = Head(decoder.channels, 4 + 3 * count)
        self.register_buffer("mean", 255 * torch.tensor(backbone.mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(backbone.std).view(1, 3, 1, 1))
        # Divides the visibility logits; fitted on held-out images when training is over.
        self.register_buffer("temperature", torch.ones(()))

    def check_input_size(self, input_size: tuple[int, int]) -> None:
        """Raise DekeyError where the network cannot learn from images of (H, W) px."""
        self.backbone.check_input_size(input_size)
        codec = self.codec
        cells = (input_size[0] // codec.stride) * (input_size[1] // codec.stride)
        if codec.objects > cells or min(input_size) // codec.stride < 2 * codec.step + 1:
            raise DekeyError(
                f"maps of {cells} cells are too small for {codec.objects} objects with Gaussians of sigma {codec.sigma:g}; use "
                "a larger model.input_size, fewer model.objects or one more deconvolution"
            )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Give the raw maps.

        Args:
            images: (B, 3, H, W) uint8 RGB.

        Returns:
            ``center_heatmap`` (B, C, h, w), ``corner_heatmap`` (B, 2, h, w), ``keypoint_heatmap`` (B, K, h, w) and
            ``visibility_logits`` (B, K, h, w) logits · ``center_offset`` (B, 2, h, w) cells · ``box_size`` (B, 2, h, w)
            logarithm of cells · ``keypoint_vectors`` (B, 2K, h, w) cells; see `CenterCodec.decode`.
        """
        features = self.decoder(self.backbone((images.float() - self.mean) / self.std))
        around = self.trunk(features)
        count = self.codec.keypoint_count
        offset, size, vectors, visibility = self.object_head(around).float().split([2, 2, 2 * count, count], dim=1)
        corners, keypoints = self.heatmap_head(features).split([2, count], dim=1)
        return {
            "center_heatmap": self.center_head(around),
            "corner_heatmap": corners,
            "center_offset": offset,
            "box_size": size + math.log(self.typical_cells),
            "keypoint_vectors": vectors * (self.typical_cells / 2),
            "keypoint_heatmap": keypoints,
            "visibility_logits": visibility,
        }

    def loss(self, batch: Batch, maps: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Give the terms whose sum is trained; each is a mean over the objects or keypoints that it concerns."""
        maps = self(batch.images) if maps is None else maps
        targets = self.codec.encode(batch.boxes, batch.labels, batch.keypoints, batch.visibility, batch.valid, batch.input_size)
        area = 2 * math.pi * self.codec.sigma**2
        masks = {"corner": targets["center_mask"].expand_as(targets["corner_heatmap"]), "keypoint": targets["keypoint_mask"]}
        terms = {"center": center_focal(maps["center_heatmap"], targets["center_heatmap"], targets["center_mask"])}
        for name, mask in masks.items():
            truth = targets[f"{name}_heatmap"]
            excess = heatmap_cross_entropy(maps[f"{name}_heatmap"], truth, mask, self.peak_weight)
            terms[f"{name}_heatmap"] = HEATMAP_WEIGHT / area * excess
        offset, size, vectors = self._at_cells(maps, targets["cells"])
        places, weights = targets["cell_places"], targets["cell_weights"]
        halves = size.clamp(-8, 8).exp() / 2
        found = torch.cat([places + offset - halves, places + offset + halves], dim=-1)
        truth = targets["boxes"][:, :, None]
        terms["box"] = BOX_WEIGHT * _weighted(1 - giou(found, truth), weights)
        sides = (truth[..., 2:] - truth[..., :2]).clamp(min=1.0)
        # The overlap hardly moves for a box inside another: lengths relative to the object's pull as well.
        errors = torch.cat([(found[..., :2] - truth[..., :2]) / sides, (found[..., 2:] - truth[..., 2:]) / sides], dim=-1)
        terms["box_edges"] = _weighted(errors.abs().mean(-1), weights)
        labelled = ((batch.visibility > 0) & batch.valid[..., None])[:, :, None].float() * weights[..., None]
        points = targets["keypoints"].nan_to_num()[:, :, None]
        ends = places[:, :, :, None] + vectors.unflatten(-1, (-1, 2))
        scale = sides.prod(-1).sqrt()[..., None]
        terms["vectors"] = VECTOR_WEIGHT * _weighted((ends - points).abs().mean(-1) / scale, labelled)
        if self.visibility_weight:
            terms["visibility"] = self.visibility_weight * self._visibility(
                maps["visibility_logits"], batch, targets["keypoints"]
            )
        return terms

    def _visibility(self, maps: Tensor, batch: Batch, places: Tensor) -> Tensor:
        """Give the mean cross-entropy of visible against occluded, at and around labelled keypoints (B, N, K, 2) in cells."""
        height, width = maps.shape[-2:]
        cells = cells_around(places.nan_to_num(), height, width)
        logits = torch.gather(maps.flatten(2), 2, cells.flatten(2)).view(cells.shape)
        visible = (batch.visibility == 2).transpose(1, 2)[..., None].float().expand_as(logits)
        inside = (places >= 0).all(-1) & (places[..., 0] < width) & (places[..., 1] < height)
        labelled = ((batch.visibility > 0) & batch.valid[..., None] & inside).transpose(1, 2)[..., None].float()
        entropy = functional.binary_cross_entropy_with_logits(logits, visible, reduction="none")
        return _weighted(entropy, labelled.expand_as(logits))

    def _at_cells(self, maps: dict[str, Tensor], cells: Tensor) -> tuple[Tensor, ...]:
        """Read the object maps at cells (B, N, S): offset, size (…, 2) and vectors (…, 2K)."""
        names = ("center_offset", "box_size", "keypoint_vectors")
        read = torch.cat([maps[name] for name in names], dim=1).flatten(2)
        index = cells.flatten(1)[:, None].expand(-1, read.shape[1], -1)
        values = torch.gather(read, 2, index).transpose(1, 2).unflatten(1, cells.shape[1:])
        return values.split([maps[name].shape[1] for name in names], dim=-1)

    def detect(self, images: Tensor) -> dict[str, Tensor]:
        """Find the objects: forward and decode, as exported.

        Args:
            images: (B, 3, H, W) uint8 RGB.

        Returns:
            The N best answers by falling score; see `CenterCodec.decode`.
        """
        maps = self(images)
        maps["visibility_logits"] = maps["visibility_logits"] / self.temperature
        return self.codec.decode(maps)


def _weighted(values: Tensor, weights: Tensor) -> Tensor:
    """Average values by weights of the same shape; zero, with a gradient, where no weight is."""
    return (values * weights).sum() / weights.sum().clamp(min=1.0)
