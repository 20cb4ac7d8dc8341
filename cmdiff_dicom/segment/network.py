"""CMDiff's network: an image encoder that runs once per study, and a light denoiser that runs S times.

The image enters at 1 mm and leaves at 1 mm, but every convolution works on a 2 mm grid: 2x2x2 blocks of voxels are
folded into channels (space to depth), so that nothing of the 1 mm detail is thrown away and a whole study is cheap.

Symbols: x_t the noisy region maps on the 2 mm grid, t/T in [0, 1] how noisy they are, F2 and F4 the guidance at 2 and 4 mm.
"Packed" logits are (n, 24, d, h, w) on the 2 mm grid: 3 regions times the 8 voxels of each block.
Source: CMDiff's stages (conditional guidance, multi-scale channel attention in the bottleneck, perturbed diffusion,
iterative denoising); the paper leaves sizes open, so widths and form are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

BLOCK_MM = 16
"""Both networks halve the 1 mm grid four times: sides must be multiples of this."""


def space_to_depth(volume: Tensor) -> Tensor:
    """(n, c, 2d, 2h, 2w) -> (n, 8c, d, h, w): each 2x2x2 block becomes 8 channels. Exact, inverse of `depth_to_space`."""
    n, c, d, h, w = volume.shape
    blocks = volume.reshape(n, c, d // 2, 2, h // 2, 2, w // 2, 2)
    return blocks.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(n, 8 * c, d // 2, h // 2, w // 2)


def depth_to_space(packed: Tensor) -> Tensor:
    """(n, 8c, d, h, w) -> (n, c, 2d, 2h, 2w): 8 channels become a 2x2x2 block of voxels."""
    n, c, d, h, w = packed.shape
    blocks = packed.reshape(n, c // 8, 2, 2, 2, d, h, w)
    return blocks.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(n, c // 8, 2 * d, 2 * h, 2 * w)


def block_mean(packed: Tensor) -> Tensor:
    """(n, 8c, d, h, w) -> (n, c, d, h, w): the mean over each block, what AvgPool2 of the unfolded volume would give."""
    n, c, d, h, w = packed.shape
    return packed.reshape(n, c // 8, 8, d, h, w).mean(dim=2)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(8, channels)


class ConvUnit(nn.Module):
    """3x3x3 convolution, group norm, leaky ReLU; `stride` 2 halves the grid."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return functional.leaky_relu(self.norm(self.conv(x)), 0.01)


class ResidualUnit(nn.Module):
    """Two 3x3x3 convolutions around an identity path."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvUnit(channels, channels)
        self.conv = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.norm = _norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return functional.leaky_relu(x + self.norm(self.conv(self.first(x))), 0.01)


class FeatureWiseShift(nn.Module):
    """FiLM: a code (n, k) scales and shifts channels; the identity at initialisation."""

    def __init__(self, code: int, channels: int) -> None:
        super().__init__()
        self.project = nn.Linear(code, 2 * channels)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        scale, shift = self.project(code)[:, :, None, None, None].chunk(2, dim=1)
        shifted: Tensor = x * (1 + scale) + shift
        return shifted


class MultiScaleChannelAttention(nn.Module):
    """Channels weighted by what global and regional pooling see: y = x * 2 sigmoid(sum_s up(W2_s relu(W1_s pool_s(x)))).

    The identity at initialisation; |y| <= 2 |x|. With scale 1 alone the gain is constant in space.
    """

    def __init__(self, channels: int, scales: Sequence[int]) -> None:
        super().__init__()
        self.scales = tuple(scales)
        self.squeeze = nn.ModuleList(nn.Conv3d(channels, channels // 4, 1) for _ in self.scales)
        self.excite = nn.ModuleList(nn.Conv3d(channels // 4, channels, 1) for _ in self.scales)
        for layer in self.excite:
            assert isinstance(layer, nn.Conv3d) and layer.bias is not None
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        if not self.scales:
            return x
        gain = torch.zeros_like(x)
        for scale, squeeze, excite in zip(self.scales, self.squeeze, self.excite, strict=True):
            pooled = functional.adaptive_avg_pool3d(x, scale)
            answer = excite(functional.relu(squeeze(pooled)))
            gain = gain + functional.interpolate(answer, size=x.shape[2:], mode="trilinear", align_corners=False)
        return x * (2 * torch.sigmoid(gain))


class Guidance(NamedTuple):
    """What the image says, computed once per study.

    Shapes: `fine` (n, d0, D, H, W) at 2 mm and `coarse` (n, d1, D/2, H/2, W/2) at 4 mm, added to the denoiser's features;
    `direct` packed logits (n, 24, D, H, W) of the encoder's own answer; `deep` logits (n, 3, D/2, H/2, W/2) at 4 mm.
    """

    fine: Tensor
    coarse: Tensor
    direct: Tensor
    deep: Tensor


class Encoder(nn.Module):
    """The conditional guidance: four levels (2, 4, 8, 16 mm), attention in the bottleneck, a decoder back to 2 mm."""

    def __init__(self, widths: Sequence[int], condition: int, denoiser: Sequence[int], scales: Sequence[int]) -> None:
        super().__init__()
        self.stem = ConvUnit(32, widths[0])
        self.availability = FeatureWiseShift(4, widths[0])
        self.blocks = nn.ModuleList(ResidualUnit(width) for width in widths)
        self.down = nn.ModuleList(ConvUnit(a, b, stride=2) for a, b in pairwise(widths))
        self.attention = MultiScaleChannelAttention(widths[-1], scales)
        self.lift = nn.ModuleList(nn.Conv3d(b, a, 1, bias=False) for a, b in pairwise(widths))
        self.join = nn.ModuleList(ConvUnit(width, width) for width in widths[:-1])
        self.deep_head = nn.Conv3d(widths[1], 3, 1)
        self.direct_head = nn.Conv3d(widths[0], 24, 3, padding=1)
        self.fine = nn.Sequential(nn.Conv3d(widths[0], condition, 1), nn.Conv3d(condition, denoiser[0], 1))
        self.coarse = nn.Conv3d(widths[1], denoiser[1], 1)
        for head in (self.deep_head, self.direct_head):
            assert head.bias is not None
            nn.init.constant_(head.bias, -3.0)

    def forward(self, image: Tensor, available: Tensor) -> Guidance:
        """Shapes: `image` (n, 4, 2D, 2H, 2W) at 1 mm, standardised; `available` (n, 4) ones and zeros."""
        x = self.stem(space_to_depth(image).contiguous(memory_format=torch.channels_last_3d))
        x = self.availability(x, available.to(x.dtype))
        skips = []
        for level, block in enumerate(self.blocks):
            x = block(x if level == 0 else self.down[level - 1](x))
            skips.append(x)
        x = self.attention(x)
        decoded = []
        for level in range(len(skips) - 2, -1, -1):
            up = functional.interpolate(self.lift[level](x), scale_factor=2, mode="trilinear", align_corners=False)
            x = self.join[level](skips[level] + up)
            decoded.append(x)
        fine, coarse = decoded[-1], decoded[-2]
        return Guidance(self.fine(fine), self.coarse(coarse), self.direct_head(fine), self.deep_head(coarse))


def time_code(t: Tensor, size: int = 32) -> Tensor:
    """(n,) noise levels t/T in [0, 1] -> (n, size) sines and cosines."""
    rates = torch.exp(torch.arange(size // 2, dtype=torch.float32, device=t.device) * (math.log(1000.0) / (size // 2 - 1)))
    angles = t.float()[:, None] * rates[None]
    return torch.cat((angles.sin(), angles.cos()), dim=1)


class Denoiser(nn.Module):
    """Noisy region maps and guidance in, clean region logits out: a three-level U-Net (2, 4, 8 mm), one convolution a stage."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.enter = nn.Conv3d(3, widths[0], 3, padding=1, bias=False)
        self.enter_norm = _norm(widths[0])
        self.down = nn.ModuleList(ConvUnit(a, b, stride=2) for a, b in pairwise(widths))
        self.middle = nn.ModuleList(ConvUnit(width, width) for width in widths[1:])
        self.lift = nn.ModuleList(nn.Conv3d(b, a, 1, bias=False) for a, b in pairwise(widths))
        self.join = nn.ModuleList(ConvUnit(width, width) for width in widths[:-1])
        self.time = nn.Sequential(nn.Linear(32, 64), nn.SiLU())
        self.film = nn.ModuleList(FeatureWiseShift(64, width) for width in widths)
        self.head = nn.Conv3d(widths[0], 24, 3, padding=1)
        assert self.head.bias is not None
        nn.init.constant_(self.head.bias, -3.0)

    def forward(self, x_t: Tensor, guidance: Guidance, t: Tensor) -> Tensor:
        """Packed logits of x_0. Shapes: `x_t` (n, 3, D, H, W) of unit variance; `t` (n,) in [0, 1]; guidance of n or 1."""
        code = self.time(time_code(t))
        x = self.enter_norm(self.enter(x_t.contiguous(memory_format=torch.channels_last_3d)) + guidance.fine)
        x = functional.leaky_relu(self.film[0](x, code.to(x.dtype)), 0.01)
        skips = [x]
        for level, (down, middle) in enumerate(zip(self.down, self.middle, strict=True)):
            x = down(x) + guidance.coarse if level == 0 else down(x)
            x = middle(self.film[level + 1](x, code.to(x.dtype)))
            skips.append(x)
        for level in range(len(skips) - 2, -1, -1):
            up = functional.interpolate(self.lift[level](x), scale_factor=2, mode="trilinear", align_corners=False)
            x = self.join[level](skips[level] + up)
        return torch.as_tensor(self.head(x))


class CMDiff(nn.Module):
    """Encoder and denoiser together. Without a denoiser it is the control: the same encoder with its direct head."""

    def __init__(
        self,
        widths: Sequence[int] = (32, 64, 128, 128),
        condition: int = 16,
        denoiser_widths: Sequence[int] = (16, 48, 96),
        attention_scales: Sequence[int] = (1, 2, 4),
        with_denoiser: bool = True,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(widths, condition, denoiser_widths, attention_scales)
        self.denoiser = Denoiser(denoiser_widths) if with_denoiser else None
