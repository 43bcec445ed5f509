"""Any number of objects ↔ maps: a peak at each object's centre, its box and keypoints written at the cells around it.

Zhou et al., "Objects as Points", 2019, with what has been learnt since. The radius of a centre's Gaussian is the root that
the formula means (CornerNet's code takes another one, four times as large). Boxes and keypoint vectors are read at every
cell near the centre, not at one alone (Liu et al., "Training-Time-Friendly Network for Real-Time Object Detection", AAAI
2020), which teaches them in a fraction of the steps. Keypoints are Gaussians around un-rounded places, as in
`dekey.codecs.heatmap`: a peak is read to a fraction of a cell, so no map of offsets is needed, which neighbouring points
would have to share. The two corners of a box that decide it, top-left and bottom-right, are read in the same way: what one
cell in the middle of a large object says about its edges is only a first guess (Law and Deng, "CornerNet", ECCV 2018).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from dekey.codecs.cells import (
    cells_around,
    cells_in_boxes,
    columns_and_rows,
    flat,
    gaussian,
    local_peaks,
    read_all,
    read_own,
    vertex,
)

Maps = dict[str, Tensor]

# Boxes shifted by the Gaussian's radius still overlap the true one by this much.
MINIMUM_OVERLAP = 0.7
# A centre's box and keypoints are trained at the cells up to this far from it.
NEIGHBOURS = 2
# A Gaussian narrower than this has no cell beside its peak to be read from.
SMALLEST_SIGMA = 0.6
# A heatmap peak belongs to an object if it lies near where the object's vector points: this is the standard deviation of
# that nearness, as a share of the object's size (root of its box's area) …
NEARNESS = 0.12
# … and peak height times nearness must reach this.
LOWEST_MATCH = 0.05
_NOWHERE = -1e4
_HEATMAPS = ("center_heatmap", "corner_heatmap", "keypoint_heatmap")


def gaussian_radius(sizes: Tensor, overlap: float = MINIMUM_OVERLAP) -> Tensor:
    """Give the largest shift of both corners of a box that keeps its overlap (IoU) with itself at `overlap`.

    The least of three cases: both corners move along, both inwards, both outwards (Law and Deng, "CornerNet", ECCV 2018).

    Args:
        sizes: (..., 2) width and height.
        overlap: IoU that must remain.

    Returns:
        (...) in the unit of the sizes.
    """
    width, height = sizes.unbind(-1)
    total, area = width + height, width * height
    along = (total - torch.sqrt(total**2 - 4 * area * (1 - overlap) / (1 + overlap))) / 2
    inwards = (total - torch.sqrt(total**2 - 4 * area * (1 - overlap))) / 4
    outwards = (-total + torch.sqrt(total**2 + 4 * area * (1 - overlap) / overlap)) / 4
    return torch.minimum(torch.minimum(along, inwards), outwards)


class CenterCodec:
    """Objects with boxes, classes and keypoints ↔ maps of logits and lengths.

    Args:
        stride: input pixels a cell.
        present: (C, K) which class has which keypoint.
        sigma: standard deviation of the keypoints' Gaussians, in cells.
        objects: N, the number of answers.

    Attributes:
        class_count, keypoint_count: C and K.
    """

    def __init__(self, stride: int, present: Sequence[Sequence[bool]], sigma: float = 1.5, objects: int = 20) -> None:
        self.stride = stride
        self.present = torch.as_tensor(present, dtype=torch.bool)
        self.class_count, self.keypoint_count = self.present.shape
        self.sigma = sigma
        self.objects = objects
        self.step = max(round(sigma), 1)

    def encode(
        self, boxes: Tensor, labels: Tensor, keypoints: Tensor, visibility: Tensor, valid: Tensor, size: tuple[int, int]
    ) -> Maps:
        """Draw what the network is to answer.

        Args:
            boxes: (B, N, 4) x1 y1 x2 y2 input px; where not valid but finite, a region in which nothing is asked.
            labels: (B, N).
            keypoints: (B, N, K, 2) input px, NaN where unknown.
            visibility: (B, N, K), 0 where unlabelled.
            valid: (B, N) bool, the objects to find.
            size: (H, W) of the input, px.

        Returns:
            ``center_heatmap`` (B, C, h, w) in [0, 1], 1 at the cell of each centre · ``center_mask`` (B, 1, h, w), 0 where
            nothing is asked · ``keypoint_heatmap`` (B, K, h, w) in [0, 1] · ``keypoint_mask`` (B, K, h, w) · ``cells``
            (B, N, S) the S cells around each centre, as row · w + column · ``cell_weights`` (B, N, S) how much each counts,
            0 where another object is nearer · ``cell_places`` (B, N, S, 2) their middles · ``boxes`` (B, N, 4) and
            ``keypoints`` (B, N, K, 2), all in cells.
        """
        height, width = size[0] // self.stride, size[1] // self.stride
        cells = boxes.float() / self.stride
        points = keypoints.float() / self.stride
        known = torch.isfinite(cells).all(-1)
        cells = torch.where(known[..., None], cells, cells.new_tensor(0.0))
        centres, sizes = (cells[..., :2] + cells[..., 2:]) / 2, (cells[..., 2:] - cells[..., :2]).clamp(min=1e-3)
        inside = (centres >= 0).all(-1) & (centres[..., 0] < width) & (centres[..., 1] < height)
        real = valid & known & inside

        sigmas = ((2 * gaussian_radius(sizes) + 1) / 6).clamp(min=SMALLEST_SIGMA)
        peaks = torch.where(real[..., None], centres, _NOWHERE)
        columns = gaussian(peaks[..., 0], sigmas, width)
        rows = gaussian(peaks[..., 1], sigmas, height)
        of_objects = rows[..., :, None] * columns[..., None, :]
        of_class = functional.one_hot(labels, self.class_count).bool() & real[..., None]
        center_heatmap = torch.stack(
            [(of_objects * of_class[:, :, label, None, None]).amax(1) for label in range(self.class_count)], dim=1
        )
        places = centres.floor().long()
        batch, objects = torch.nonzero(real, as_tuple=True)
        own = batch, labels[batch, objects], places[batch, objects, 1], places[batch, objects, 0]
        center_heatmap[own] = 1.0

        corners = torch.where(real[..., None, None], cells.unflatten(-1, (2, 2)), _NOWHERE)
        asked = ~cells_in_boxes(cells, known & ~valid, height, width)
        center_mask = asked.all(1, keepdim=True)
        center_mask[own[0], 0, own[2], own[3]] = True
        keypoint_heatmap, keypoint_mask = self._keypoint_maps(
            points, visibility, valid, cells, known, labels, center_mask, height, width
        )
        return {
            "center_heatmap": center_heatmap,
            "center_mask": center_mask.float(),
            "corner_heatmap": self._draw(corners, height, width),
            "keypoint_heatmap": keypoint_heatmap,
            "keypoint_mask": keypoint_mask.float(),
            **self._assign(centres, sigmas, places, real, height, width),
            "boxes": cells,
            "keypoints": points,
        }

    def _keypoint_maps(
        self,
        points: Tensor,
        visibility: Tensor,
        valid: Tensor,
        cells: Tensor,
        known: Tensor,
        labels: Tensor,
        asked: Tensor,
        height: int,
        width: int,
    ) -> tuple[Tensor, Tensor]:
        """Draw the keypoints of all objects into K maps; a map asks nothing in the box of an object that lacks its label."""
        labelled = (visibility > 0) & valid[..., None]
        places = torch.where(labelled[..., None], points, _NOWHERE).nan_to_num(nan=_NOWHERE)
        heatmap = self._draw(places, height, width)
        mask = asked.expand(-1, self.keypoint_count, -1, -1).clone()
        unknown = self.present.to(labels.device)[labels] & ~labelled & (valid & known)[..., None]
        if unknown.any():
            regions = cells_in_boxes(cells, known & valid, height, width)
            for index in range(points.shape[1]):
                mask &= ~(regions[:, index, None] & unknown[:, index, :, None, None])
        return heatmap, mask | (heatmap > 0.1)

    def _draw(self, places: Tensor, height: int, width: int) -> Tensor:
        """Draw points (B, N, P, 2) in cells as Gaussians into P maps (B, P, h, w); where two meet the higher one counts."""
        sigma = places.new_full((1,), self.sigma)
        heatmap = places.new_zeros(len(places), places.shape[2], height, width)
        for index in range(places.shape[1]):
            columns = gaussian(places[:, index, :, 0], sigma, width)
            rows = gaussian(places[:, index, :, 1], sigma, height)
            heatmap = torch.maximum(heatmap, rows[..., :, None] * columns[..., None, :])
        return heatmap

    def _assign(self, centres: Tensor, sigmas: Tensor, places: Tensor, real: Tensor, height: int, width: int) -> Maps:
        """Choose the cells at which each object's box and keypoints are trained; a cell serves the object it is nearest to."""
        reach = torch.arange(-NEIGHBOURS, NEIGHBOURS + 1, device=centres.device)
        around = torch.stack([reach.repeat(len(reach)), reach.repeat_interleave(len(reach))], dim=-1)
        cells = places[:, :, None] + around
        middles = cells.float() + 0.5
        weights = torch.exp(-((middles - centres[:, :, None]) ** 2).sum(-1) / (2 * sigmas[..., None] ** 2))
        inside = (cells >= 0).all(-1) & (cells[..., 0] < width) & (cells[..., 1] < height)
        weights = weights * (inside & real[..., None] & (weights > 0.1))
        # The cell of its own centre is an object's whatever comes near.
        weights[:, :, len(around) // 2] = torch.where(real, 2.0, 0.0)
        index = (cells[..., 1] * width + cells[..., 0]).clamp(0, height * width - 1)
        claims = weights.new_zeros(len(weights), height * width)
        claims.scatter_reduce_(1, index.flatten(1), weights.flatten(1), "amax")
        nearest = weights >= torch.gather(claims, 1, index.flatten(1)).view_as(weights)
        return {"cells": index, "cell_weights": weights.clamp(max=1.0) * nearest, "cell_places": middles}

    def ideal_maps(self, targets: Maps, visible: Tensor | None = None) -> Maps:
        """Give the maps of a network that answers `encode`'s targets without error.

        Args:
            targets: what `encode` gave.
            visible: (B, N, K) bool; without it everything is visible.
        """
        batch, objects, samples = targets["cells"].shape
        height, width = targets["center_heatmap"].shape[-2:]
        centres = (targets["boxes"][..., :2] + targets["boxes"][..., 2:]) / 2
        sizes = (targets["boxes"][..., 2:] - targets["boxes"][..., :2]).clamp(min=1e-3)
        places = targets["cell_places"]
        count = self.keypoint_count
        vectors = (targets["keypoints"][:, :, None] - places[:, :, :, None]).nan_to_num()
        seen = torch.ones(batch, objects, count, dtype=torch.bool) if visible is None else visible
        columns = {
            "center_offset": centres[:, :, None] - places,
            "box_size": sizes.log()[:, :, None].expand(-1, -1, samples, -1),
            "keypoint_vectors": vectors.flatten(3),
        }
        maps = {name: torch.logit(targets[name].clamp(1e-6, 1 - 1e-6)) for name in _HEATMAPS}
        rows, index = torch.nonzero(targets["cell_weights"].flatten(1) > 0, as_tuple=True)
        for name, values in columns.items():
            flat = values.new_zeros(batch, height * width, values.shape[-1])
            flat[rows, targets["cells"].flatten(1)[rows, index]] = values.flatten(1, 2)[rows, index]
            maps[name] = flat.transpose(1, 2).reshape(batch, -1, height, width)
        image, which, keypoint = torch.nonzero(torch.isfinite(targets["keypoints"]).all(-1), as_tuple=True)
        around = cells_around(targets["keypoints"].nan_to_num(), height, width)[image, keypoint, which]
        flat = vectors.new_zeros(batch, count, height * width)
        flat[image[:, None], keypoint[:, None], around] = seen[image, which, keypoint].float()[:, None] * 20 - 10
        maps["visibility_logits"] = flat.view(batch, count, height, width)
        return maps

    def decode(self, maps: Maps) -> Maps:
        """Find the objects.

        Args:
            maps: ``center_heatmap`` (B, C, h, w), ``corner_heatmap`` (B, 2, h, w), ``keypoint_heatmap`` (B, K, h, w) and
                ``visibility_logits`` (B, K, h, w) logits · ``center_offset`` (B, 2, h, w) cells from the middle of the cell
                to the centre · ``box_size`` (B, 2, h, w) logarithm of cells · ``keypoint_vectors`` (B, 2K, h, w) cells from
                the middle of the cell. What hides a keypoint is seen where the keypoint is, so visibility is read there.

        Returns:
            The N best, by falling score: ``boxes`` (B, N, 4) and ``keypoints`` (B, N, K, 2) input px · ``scores`` (B, N) ·
            ``labels`` (B, N) · ``keypoint_scores`` (B, N, K) · ``visibility`` (B, N, K) probability.
        """
        # Written for the runtimes: lengths are numbers and not asked for again, what is read is read by one flat index, and
        # coordinates lie in rows (…, 2, N). Of small maps a graph's many steps take longer than the work.
        height, width = (int(length) for length in maps["center_heatmap"].shape[-2:])
        count, several = self.keypoint_count, self.keypoint_count + 2
        heatmaps = torch.sigmoid(torch.cat([maps[name].float() for name in (*_HEATMAPS[1:], _HEATMAPS[0])], dim=1))
        peaks = (heatmaps * local_peaks(heatmaps)).reshape(-1, several + self.class_count, height * width)
        heights, cells = peaks.topk(self.objects)
        scores, best = heights[:, several:].flatten(1).topk(self.objects)
        labels = best.div(self.objects, rounding_mode="trunc")
        centres = torch.gather(cells[:, several:].flatten(1), 1, best)[:, None]
        middles = columns_and_rows(centres, width).float() + 0.5
        offset, size, vectors = (
            read_all(maps[name].float(), centres) for name in ("center_offset", "box_size", "keypoint_vectors")
        )
        at, halves = middles + offset[:, None], size[:, None].clamp(-8, 8).exp() / 2
        # A corner is found as a keypoint is: the heatmap's peak that lies where the first guess points.
        guessed = torch.cat([at - halves, at + halves], dim=1)
        regressed = torch.cat([guessed, middles + vectors.reshape(-1, count, 2, self.objects)], dim=1)
        places = self._refine(heatmaps, cells[:, :several])
        spread = 2 * NEARNESS**2 * (4 * halves[:, :, 0] * halves[:, :, 1]).clamp(min=1.0)
        found, found_scores = self._match(heatmaps, heights[:, :several], places, regressed, spread)
        corners, keypoints = found.split([2, count], dim=1)
        # Two corners that contradict each other belong to no one box.
        upright = (corners[:, 1:] - corners[:, :1]).amin(2, keepdim=True) > 0
        corners = torch.where(upright, corners, guessed)
        visibility = read_own(maps["visibility_logits"].float(), keypoints)
        return {
            "boxes": corners.reshape(-1, 4, self.objects).transpose(1, 2) * self.stride,
            "scores": scores,
            "labels": labels,
            "keypoints": keypoints.permute(0, 3, 1, 2) * self.stride,
            "keypoint_scores": found_scores[:, 2:].transpose(1, 2),
            "visibility": torch.sigmoid(visibility).transpose(1, 2),
        }

    def _match(
        self, heatmaps: Tensor, heights: Tensor, places: Tensor, regressed: Tensor, spread: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Give every keypoint of every object the heatmap's peak that lies where its vector points, else the vector's end.

        Args:
            heatmaps: (B, K or more, h, w) in [0, 1]; corners count as keypoints here.
            heights: (B, K, P) of the peaks of each map.
            places: (B, K, 2, P) cells, where they are.
            regressed: (B, K, 2, N) cells.
            spread: (B, 1, N) twice the variance of the nearness of each object, cells².

        Returns:
            Places (B, K, 2, N) in cells and scores (B, K, N).
        """
        count, number = int(regressed.shape[1]), self.objects
        gaps = regressed[..., None] - places[..., None, :]
        distances = (gaps * gaps).sum(2)
        match, choice = (heights[:, :, None] * torch.exp(-distances / spread[..., None])).max(-1)
        peaks = torch.cat([places, heights[:, :, None]], dim=2)
        rows = number * torch.arange(3 * count, device=choice.device).reshape(count, 3, 1)
        chosen = torch.gather(peaks.flatten(1), 1, (choice[:, :, None] + rows).flatten(1)).reshape(-1, count, 3, number)
        there = read_own(heatmaps, regressed).clamp(max=LOWEST_MATCH)
        answer = torch.where((match > LOWEST_MATCH)[:, :, None], chosen, torch.cat([regressed, there[:, :, None]], dim=2))
        return answer[:, :, :2], answer[:, :, 2]

    def _refine(self, heatmaps: Tensor, cells: Tensor) -> Tensor:
        """Read peaks to a fraction of a cell: sums along rows and columns around each, and the vertex of a parabola.

        Args:
            heatmaps: (B, K or more, h, w).
            cells: (B, K, P) as row · w + column.

        Returns:
            (B, K, 2, P) cells, the middle of the first cell at 0.5.
        """
        height, width = (int(length) for length in heatmaps.shape[-2:])
        count, number, reach = int(cells.shape[1]), self.objects, self.step
        side = 2 * reach + 1
        ends = torch.tensor([[width - 1 - reach], [height - 1 - reach]], device=cells.device)
        inner = torch.minimum(columns_and_rows(cells, width).clamp(min=reach), ends)
        offsets = torch.arange(-reach, reach + 1, device=cells.device)
        window = (width * offsets[:, None] + offsets).flatten() + height * width * torch.arange(count, device=cells.device)[
            :, None
        ]
        index = flat(inner, width)[:, :, None] + window[..., None]
        around = torch.gather(heatmaps.flatten(1), 1, index.flatten(1)).reshape(-1, count, side, side, number)
        profiles = torch.stack([around.sum(2)[:, :, ::reach], around.sum(3)[:, :, ::reach]], dim=3)
        return inner + vertex(profiles, reach) + 0.5
