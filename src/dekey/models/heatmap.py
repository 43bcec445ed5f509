"""HeatmapModel: the keypoints of one object that fills the image or a crop of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dekey.codecs.heatmap import HeatmapCodec
from dekey.errors import DekeyError
from dekey.models.backbone import Backbone
from dekey.models.decoder import DeconvDecoder, Head
from dekey.models.losses import heatmap_mse, visibility_bce

if TYPE_CHECKING:
    from dekey.models.base import Batch


class HeatmapModel(nn.Module):
    """Backbone, deconvolution decoder, and K heatmaps read to a fraction of a cell.

    Args:
        backbone: the convolutional half.
        decoder: the deconvolutional half.
        keypoint_count: K.
        codec: keypoints ↔ heatmaps; its stride is the decoder's.
        input_size: (H, W) px.
        peak_weight: extra weight of the peaks in the mean squared error.
        visibility_weight: weight of the visibility loss.

    Raises:
        DekeyError: if the input size is not a multiple of the backbone's stride, or the heatmaps are too small to read.
    """

    kind = "heatmap"
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        decoder: DeconvDecoder,
        keypoint_count: int,
        codec: HeatmapCodec,
        input_size: tuple[int, int],
        peak_weight: float = 0.0,
        visibility_weight: float = 0.05,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder
        self.heatmap_head = Head(decoder.channels, keypoint_count)
        self.visibility_head = nn.Linear(backbone.channels[-1], keypoint_count)
        self.codec = codec
        self.check_input_size(input_size)
        self.input_size = input_size
        self.peak_weight = peak_weight
        self.visibility_weight = visibility_weight
        self.register_buffer("mean", 255 * torch.tensor(backbone.mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(backbone.std).view(1, 3, 1, 1))

    def check_input_size(self, input_size: tuple[int, int]) -> None:
        """Raise DekeyError where the network cannot learn from images of (H, W) px."""
        self.backbone.check_input_size(input_size)
        cells, needed = min(input_size) // self.codec.stride, 2 * self.codec.radius + 1
        if cells < needed:
            raise DekeyError(
                f"a heatmap of {cells} cells is too small for Gaussians of sigma {self.codec.sigma:g}, which need {needed}; "
                "use a larger input, more deconvolutions or a smaller sigma"
            )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Give the raw maps.

        Args:
            images: (B, 3, H, W) uint8 RGB.

        Returns:
            ``keypoint_heatmap`` (B, K, h, w) and ``visibility_logits`` (B, K).
        """
        features = self.backbone((images.float() - self.mean) / self.std)
        return {
            "keypoint_heatmap": self.heatmap_head(self.decoder(features)),
            "visibility_logits": self.visibility_head(features[-1].mean(dim=(2, 3))),
        }

    def loss(self, batch: Batch, maps: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Give the terms whose sum is trained; the one object of an image is ``batch.keypoints[:, 0]``."""
        maps = self(batch.images) if maps is None else maps
        keypoints, visibility = batch.keypoints[:, 0], batch.visibility[:, 0]
        labelled = (visibility > 0).float()
        target = self.codec.encode(keypoints, batch.input_size)["keypoint_heatmap"]
        cells = 2 * math.pi * self.codec.sigma**2
        terms = {"heatmap": heatmap_mse(maps["keypoint_heatmap"], target, labelled, cells, self.peak_weight)}
        if self.visibility_weight:
            visible = (visibility == 2).float()
            terms["visibility"] = self.visibility_weight * visibility_bce(maps["visibility_logits"], visible, labelled)
        return terms

    def detect(self, images: Tensor) -> dict[str, Tensor]:
        """Find the keypoints: forward and decode, as exported.

        Args:
            images: (B, 3, H, W) uint8 RGB.

        Returns:
            With N = 1: ``boxes`` (B, N, 4) hull of the keypoints, input px · ``scores`` (B, N) mean keypoint score ·
            ``labels`` (B, N) zero · ``keypoints`` (B, N, K, 2) input px · ``keypoint_scores`` (B, N, K) ·
            ``visibility`` (B, N, K) probability of visible against occluded.
        """
        maps = self(images)
        found = self.codec.decode(maps)
        keypoints, scores = found["keypoints"], found["keypoint_scores"]
        boxes = torch.cat([keypoints.amin(dim=1), keypoints.amax(dim=1)], dim=-1)
        mean_scores = scores.mean(dim=1, keepdim=True)
        return {
            "boxes": boxes[:, None],
            "scores": mean_scores,
            "labels": torch.zeros_like(mean_scores, dtype=torch.int64),
            "keypoints": keypoints[:, None],
            "keypoint_scores": scores[:, None],
            "visibility": torch.sigmoid(maps["visibility_logits"].float())[:, None],
        }
