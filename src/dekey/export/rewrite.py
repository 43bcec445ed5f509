"""Networks in forms that runtimes know: normalisation and scales folded into weights, deconvolution as convolution.

All give what the layers gave, up to rounding. ONNX Runtime has no int8 kernel for transposed convolutions: left as they are
they run in fp32, with conversions around them that make the file slower than it was.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from dekey.models.backbone import is_learned_scale
from dekey.models.decoder import DeconvDecoder


class SubpixelDeconvolution(nn.Module):
    """A transposed convolution with kernel 4, stride 2, padding 1 as a 2×2 convolution on the coarse grid.

    Output cell 2i + a sees the taps k = a + 1 − 2(i′ − i) of the coarse cells i′ only: two on each axis. So a 2×2 convolution
    with one border cell gives the four phases of every output cell as channels; they are put in their places, and what lies
    one cell outside is cut off (Shi et al., "Is the deconvolution layer the same as a convolutional layer?", 2016).

    Args:
        layer: what to rewrite; its groups are 1.
    """

    def __init__(self, layer: nn.ConvTranspose2d) -> None:
        super().__init__()
        assert fits_subpixel(layer)
        # Tap t of the window of phase b is tap 2(1 − t) + b of the transposed kernel.
        taps = layer.weight.detach().unflatten(3, (2, 2)).unflatten(2, (2, 2)).flip(2, 4)
        incoming, outgoing = layer.in_channels, layer.out_channels
        # (in, out, ty, by, tx, bx) → (out · by · bx, in, ty, tx)
        weight = taps.permute(1, 3, 5, 0, 2, 4).reshape(4 * outgoing, incoming, 2, 2)
        self.convolution = nn.Conv2d(incoming, 4 * outgoing, 2, padding=1, bias=layer.bias is not None, device=weight.device)
        with torch.no_grad():
            self.convolution.weight.copy_(weight)
            if layer.bias is not None and self.convolution.bias is not None:
                self.convolution.bias.copy_(layer.bias.detach().repeat_interleave(4))

    def forward(self, coarse: Tensor) -> Tensor:
        """Turn (B, in, h, w) into (B, out, 2h, 2w)."""
        return nn.functional.pixel_shuffle(self.convolution(coarse), 2)[..., 1:-1, 1:-1]


def fits_subpixel(layer: nn.Module) -> bool:
    """Tell whether a layer is a transposed convolution that `SubpixelDeconvolution` can stand for."""
    return (
        isinstance(layer, nn.ConvTranspose2d)
        and layer.kernel_size == (4, 4)
        and layer.stride == (2, 2)
        and layer.padding == (1, 1)
        and layer.output_padding == (0, 0)
        and layer.dilation == (1, 1)
        and layer.groups == 1
    )


class Bound(nn.Module):
    """An activation that lets no value pass a bound.

    Args:
        bound: the bound.
        below: whether it is the lowest value, else the highest.
    """

    def __init__(self, bound: float, below: bool) -> None:
        super().__init__()
        self.bound, self.below = bound, below

    def forward(self, values: Tensor) -> Tensor:
        """Bound values of any shape."""
        return values.clamp(min=self.bound) if self.below else values.clamp(max=self.bound)


def fold_learned_scales(model: nn.Module) -> nn.Module:
    """Give a model without factors and offsets after activations; a copy in evaluation mode if it has any.

    For s > 0, s · relu(x) + b is max(s·x + b, b), for s < 0 min(s·x + b, b): both go into the normalisation before the
    activation, which becomes a bound that runtimes compute together with the convolution.
    """
    if not any(map(is_learned_scale, model.modules())):
        return model
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        norm, activation, scale = (getattr(module, name, nn.Identity()) for name in ("bn", "act", "lab"))
        if isinstance(norm, nn.BatchNorm2d) and isinstance(activation, nn.ReLU) and is_learned_scale(scale):
            factor, offset = (scale.state_dict()[name].item() for name in ("scale", "bias"))
            with torch.no_grad():
                norm.weight.mul_(factor)
                norm.bias.mul_(factor).add_(offset)
            module.act, module.lab = Bound(offset, below=factor > 0), nn.Identity()
    return model


def rewritten(model: nn.Module, subpixel: bool) -> nn.Module:
    """Give a copy of a model, in evaluation mode, whose decoders are free of batch normalisation.

    Args:
        model: any `KeypointModel`.
        subpixel: also turn transposed convolutions into convolutions.
    """
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        if isinstance(module, DeconvDecoder):
            for index in range(len(module.norms)):
                _fold(module, index)
                layer = module.deconvolutions[index]
                if subpixel and fits_subpixel(layer):
                    module.deconvolutions[index] = SubpixelDeconvolution(layer)  # type: ignore[arg-type]
    return model


def _fold(decoder: DeconvDecoder, index: int) -> None:
    """Fold norm(layer(x) + lateral(y)) into the weights of both; a layer of another kind keeps its norm."""
    norm, layer, lateral = decoder.norms[index], decoder.deconvolutions[index], decoder.laterals[index]
    plain = isinstance(lateral, nn.Identity)
    if not (isinstance(norm, nn.BatchNorm2d) and isinstance(layer, nn.ConvTranspose2d) and layer.groups == 1):
        return
    if not (plain or isinstance(lateral, nn.Conv2d)):
        return
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        shift = norm.bias - norm.running_mean * factor
        for part, factors in ((layer, factor[None, :, None, None]), (lateral, factor[:, None, None, None])):
            if not isinstance(part, nn.Identity):
                part.weight.mul_(factors)  # type: ignore[operator]
                if part.bias is not None:
                    shift = shift + part.bias * factor  # type: ignore[operator]
                    part.bias.zero_()  # type: ignore[operator]
        layer.bias = nn.Parameter(shift)
    decoder.norms[index] = nn.Identity()
