"""Seconds and memory of preparing one study and carrying its result back, without the network.

    python tests/bench/bench_prepare.py [--seed 1] [--stripped]

A head of 1 mm in four sequences (or, with --stripped, the brain alone, as BraTS has it). Prints wall and processor seconds of the
whole, where they go, and the peak memory of the process.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import resource
from time import perf_counter, process_time

import numpy as np

from cmdiff_dicom.geometry import Geometry, Volume
from cmdiff_dicom.prepare import prepare_study
from cmdiff_dicom.records import ModelIdentity, Sampling, SegmentationResult, Sequence
from cmdiff_dicom.restore import restore_probability
from cmdiff_dicom.synthesis import acquire, make_head, render

PARTS = ("find_brain", "register", "onto_grid", "finish_mask", "stripped_brain", "restore_probability")
SHAPE = (155, 240, 240)


def study_of(seed: int, stripped: bool) -> dict[Sequence, Volume]:
    """Four sequences of one head on a grid of 155 slices of 240 x 240 pixels."""
    head = make_head(seed)
    matrix = head.geometry.mm_from_index.copy()
    matrix[:3, 3] = head.geometry.centre_mm - matrix[:3, :3] @ ((np.array(SHAPE) - 1) / 2) + [0, 0, 12]
    grid = Geometry(SHAPE, matrix)
    inside = Volume(head.brain.astype(np.float32), head.geometry)
    brain = acquire(inside, grid, 0.0).array > 0.5
    volumes = {}
    for number, sequence in enumerate(Sequence):
        scan = acquire(render(head, sequence, bias=0.1), grid, seed=number)
        volumes[sequence] = Volume(np.where(brain, scan.array, np.float32(0)) if stripped else scan.array, grid)
    return volumes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stripped", action="store_true")
    arguments = parser.parse_args()
    volumes = study_of(arguments.seed, arguments.stripped)
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    profile = cProfile.Profile()
    wall, busy = perf_counter(), process_time()
    profile.enable()
    prepared = prepare_study(volumes, Sequence.T1C)
    probability = np.zeros((3, *prepared.grid.shape), dtype=np.float32)
    result = SegmentationResult(
        probability, probability, prepared.grid, ModelIdentity("none", "0", ""), Sampling(1, 0.0, 1, 0), prepared.available
    )
    restore_probability(result, prepared.scanner_grid)
    profile.disable()
    wall, busy = perf_counter() - wall, process_time() - busy
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"prepare and restore: {wall:.1f} s wall, {busy:.1f} s of processor; model grid {prepared.grid.shape}")
    for (file, _, name), (_, _, _, total, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        if name in PARTS and "cmdiff_dicom" in file:
            print(f"  {name:20s} {total:6.2f} s")
    print(f"peak memory {peak_mb:.0f} MB, {before_mb:.0f} MB before")


if __name__ == "__main__":
    main()
