"""ArticleModel: one box and its keypoints by regression, the head of the article that dekey starts from.

The article's three formulas, with f = ReLU and g = sigmoid:

- features        y  = f(W ∗ x + b)              the backbone
- back to places  x′ = f(W′ᵀ ∗ y + b′)           the decoder's transposed convolutions
- regression      b  = g(W″ · pool(x′) + b″)     one linear layer

trained by the mean squared error. W″ must see where in x′ something is, so x′ is not averaged to a point but to a grid of
cells (8×8), each the mean over its part of the picture, and W″ reads all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

import torch
from torch import Tensor, nn

from dekey.errors import DekeyError
from dekey.models.backbone import Backbone, build_backbone
from dekey.models.decoder import DeconvDecoder, build_decoder
from dekey.models.losses import masked_mean

if TYPE_CHECKING:
    from dekey.models.base import Batch

# Cells of the grid that W″ reads, down and across.
GRID: Final = (8, 8)


class ArticleModel(nn.Module):
    """Backbone, decoder, and a regression of box and keypoints as shares of the input.

    It answers with exactly one object for each image, and nothing in it says how sure it is: scores and visibility are 1.

    Args:
        backbone: the convolutional half.
        decoder: the deconvolutional half.
        keypoint_count: K.
        input_size: (H, W) px.

    Raises:
        DekeyError: if the input size is not a multiple of the backbone's stride.
    """

    kind = "article"
    mean: Tensor
    std: Tensor
    extent: Tensor
    rows: Tensor
    columns: Tensor

    def __init__(self, backbone: Backbone, decoder: DeconvDecoder, keypoint_count: int, input_size: tuple[int, int]) -> None:
        super().__init__()
        backbone.check_input_size(input_size)
        self.backbone = backbone
        self.decoder = decoder
        self.keypoint_count = keypoint_count
        self.input_size = input_size
        rows, columns = (_averages(length // decoder.stride, cells) for length, cells in zip(input_size, GRID, strict=True))
        self.regression = nn.Linear(decoder.channels * len(rows) * len(columns), 4 + 2 * keypoint_count)
        # Small weights start every answer near the middle of the picture, where the sigmoid is steepest.
        nn.init.normal_(self.regression.weight, std=0.1 / math.sqrt(self.regression.in_features))
        nn.init.zeros_(self.regression.bias)
        height, width = input_size
        self.register_buffer("mean", 255 * torch.tensor(backbone.mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(backbone.std).view(1, 3, 1, 1))
        # These follow from the sizes, so they are no part of the stored weights.
        self.register_buffer("extent", torch.tensor([float(width), float(height)]), persistent=False)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)

    def check_input_size(self, input_size: tuple[int, int]) -> None:
        """Raise DekeyError where the network cannot learn from images of (H, W) px: it answers as a share of its own size."""
        if input_size != self.input_size:
            raise DekeyError(f"found images of {input_size} px (height, width), expected {self.input_size}; resize them")

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Give box and keypoints as shares of the input.

        Args:
            images: (B, 3, H, W) uint8 RGB.

        Returns:
            ``box_shares`` (B, 4) centre x, y, width, height and ``keypoint_shares`` (B, K, 2) x, y, all in [0, 1].
        """
        carried_back = self.decoder(self.backbone((images.float() - self.mean) / self.std))
        cells = self.rows.to(carried_back.dtype) @ carried_back @ self.columns.to(carried_back.dtype).T
        shares = torch.sigmoid(self.regression(cells.flatten(1)).float())
        return {
            "box_shares": shares[:, :4],
            "keypoint_shares": shares[:, 4:].reshape(-1, self.keypoint_count, 2),
        }

    def loss(self, batch: Batch, maps: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Give the mean squared errors of the box and of the keypoints, in squared shares; the object is number 0.

        The box counts as far as it lies in the input. What a sigmoid cannot say is masked: a keypoint beyond the border,
        a box wholly outside; and so is what is not annotated.
        """
        found = self(batch.images) if maps is None else maps
        valid = batch.valid[:, 0]
        corners = (batch.boxes[:, 0].unflatten(1, (2, 2)) / self.extent).clamp(0, 1)
        sides = corners[:, 1] - corners[:, 0]
        box = torch.cat([corners.mean(dim=1), sides], dim=1)
        has_box = valid & (sides > 0).all(dim=1)
        keypoints = batch.keypoints[:, 0] / self.extent
        inside = ((keypoints >= 0) & (keypoints <= 1)).all(dim=-1)
        labelled = valid[:, None] & (batch.visibility[:, 0] > 0) & inside
        return {
            "box": _mean_squared_error(found["box_shares"], box, has_box),
            "keypoints": _mean_squared_error(found["keypoint_shares"], keypoints, labelled),
        }

    def detect(self, images: Tensor) -> dict[str, Tensor]:
        """Find the object, as exported.

        Args:
            images: (B, 3, H, W) uint8 RGB.

        Returns:
            With N = 1: ``boxes`` (B, N, 4) input px · ``scores`` (B, N) one · ``labels`` (B, N) zero ·
            ``keypoints`` (B, N, K, 2) input px · ``keypoint_scores`` and ``visibility`` (B, N, K) one.
        """
        found = self(images)
        return answers_of(found["box_shares"], found["keypoint_shares"], self.extent)


def answers_of(box_shares: Tensor, keypoint_shares: Tensor, extent: Tensor) -> dict[str, Tensor]:
    """Turn the shares of a regression into what every `detect` gives.

    Args:
        box_shares: (B, 4) centre x, centre y, width, height, as shares of the input.
        keypoint_shares: (B, K, 2) shares of the input.
        extent: (2,) width and height of the input, px.

    Returns:
        The arrays of `ArticleModel.detect`; boxes end at the border of the input.
    """
    centre, half = box_shares[:, :2], box_shares[:, 2:] / 2
    ends = torch.cat([centre - half, centre + half], dim=1).clamp(0, 1)
    boxes = (ends * torch.cat([extent, extent]))[:, None]
    keypoints = (keypoint_shares * extent)[:, None]
    scores = torch.ones_like(boxes[..., 0])
    keypoint_scores = torch.ones_like(keypoints[..., 0])
    return {
        "boxes": boxes,
        "scores": scores,
        "labels": torch.zeros_like(scores, dtype=torch.int64),
        "keypoints": keypoints,
        "keypoint_scores": keypoint_scores,
        "visibility": keypoint_scores,
    }


def build_article_model(
    backbone: str | Backbone,
    decoder_channels: Sequence[int],
    decoder: str,
    keypoint_count: int,
    input_size: tuple[int, int],
    learned_scales: bool | None = True,
    pretrained: bool | Literal["auto"] = False,
) -> ArticleModel:
    """Build an ArticleModel.

    Args:
        backbone: timm name, or the backbone itself.
        decoder_channels: channels of each upsampling layer.
        decoder: name of the decoder, see `build_decoder`.
        keypoint_count: K.
        input_size: (H, W) px.
        learned_scales: see `build_backbone`.
        pretrained: see `build_backbone`.

    Raises:
        DekeyError: if a part cannot be built or the input size does not fit.
    """
    body = build_backbone(backbone, pretrained, learned_scales)
    return ArticleModel(body, build_decoder(decoder, body.channels, body.strides, decoder_channels), keypoint_count, input_size)


def _averages(length: int, cells: int) -> Tensor:
    """Make the matrix (cells, length) whose product with a line of values averages it over equal parts.

    A value that two parts share goes to both by its share; of a line shorter than `cells` nothing is averaged. As a
    product it exports for every size, where adaptive pooling exports for multiples only.
    """
    cells = min(cells, length)
    ends = torch.arange(cells + 1) * (length / cells)
    places = torch.arange(length)
    covered = torch.minimum(ends[1:, None], places + 1.0) - torch.maximum(ends[:-1, None], places)
    return covered.clamp(min=0) * (cells / length)


def _mean_squared_error(found: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Average the squares (..., 2 or 4) where mask (...) is true; NaN elsewhere does no harm."""
    known = mask[..., None].expand_as(found)
    return masked_mean((found - torch.where(known, truth, 0.0)) ** 2, known.float())
