"""The k-space filter: noise lives at high spatial frequencies, anatomy at low ones.

Symbols: k in cycles per voxel, r = |k| / 0.5 (1 at Nyquist along an axis, sqrt(3) in the corners), c the cutoff in r,
H(r) in [0, 1] the gain; v' = irfftn(rfftn(v) H). H(0) = 1, so the mean stays. A cutoff of 1 or more is a bypass.
"adaptive" is a radial Wiener filter, H = S / (S + s2), where s2 is the power found in the shell 0.9 <= r <= 1 and S what the
radially averaged power has above it; a Butterworth floor keeps it from blurring anatomy.
Source: CMDiff's first stage; the form is ours.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ORDER = 4
SHELL = (0.9, 1.0)
BINS = 128


def filter_volume(volume: Tensor, kind: str, cutoff: float) -> Tensor:
    """The filtered volume. Shapes: float32 (k, j, i), own intensities. `kind`: none or one of the gains below."""
    if kind == "none" or (kind != "adaptive" and cutoff >= 1):
        return volume
    spectrum = torch.fft.rfftn(volume)
    radius = radii(volume.shape, volume.device)
    gain = adaptive_gain(spectrum, radius, cutoff) if kind == "adaptive" else fixed_gain(radius, kind, cutoff)
    filtered: Tensor = torch.fft.irfftn(spectrum * gain, s=volume.shape)
    return filtered


def radii(shape: tuple[int, ...] | torch.Size, device: torch.device | str = "cpu") -> Tensor:
    """r of every coefficient of rfftn, float32 (k, j, i // 2 + 1)."""
    axes = [torch.fft.fftfreq(side, device=device) for side in shape[:-1]] + [torch.fft.rfftfreq(shape[-1], device=device)]
    squares = [(axis / 0.5) ** 2 for axis in axes]
    square = squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :]
    return torch.sqrt(square)


def fixed_gain(radius: Tensor, kind: str, cutoff: float) -> Tensor:
    """H(r): butterworth 1 / sqrt(1 + (r/c)^8), gaussian with H(c) = 1/sqrt(2), or ideal (rings; for tests)."""
    if kind == "butterworth":
        return 1 / (1 + (radius / cutoff) ** (2 * ORDER)).sqrt()
    if kind == "gaussian":
        return torch.exp(-math.log(2) / 2 * (radius / cutoff) ** 2)
    if kind == "ideal":
        return (radius <= cutoff).to(radius.dtype)
    raise ValueError(f"no filter is called {kind!r}")


def adaptive_gain(spectrum: Tensor, radius: Tensor, floor_cutoff: float) -> Tensor:
    """The Wiener gain of this spectrum: never rising with r, 1 at r = 0, never below the Butterworth floor."""
    power = spectrum.real.double() ** 2 + spectrum.imag.double() ** 2
    shell = power[(radius >= SHELL[0]) & (radius <= SHELL[1])]
    noise = shell.mean() if shell.numel() else power.new_zeros(())
    if not float(noise) > 0:
        return torch.ones_like(radius)
    place = (radius / math.sqrt(3.0) * (BINS - 1)).round().long()
    count = torch.bincount(place.flatten(), minlength=BINS).clamp_min(1)
    mean = torch.bincount(place.flatten(), power.flatten(), minlength=BINS) / count
    signal = (mean - noise).clamp_min(0)
    wiener = torch.cummin(signal / (signal + noise), 0).values.clamp(0, 1)
    wiener[0] = 1
    gain = wiener.to(radius.dtype)[place]
    gain[(radius == 0)] = 1
    if floor_cutoff >= 1:
        return torch.ones_like(radius)
    return torch.maximum(gain, fixed_gain(radius, "butterworth", floor_cutoff))
