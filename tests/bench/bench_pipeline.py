"""What a study of 4 x 155 slices costs besides the network: seconds of each stage, and the memory of each process.

    python tests/bench/bench_pipeline.py [--weights FILE] [--nifti FOLDER]

A synthetic head, skull on, in four series of 155 slices of 240 x 240 pixels, each tilted by itself, is sent by C-STORE from
the demo PACS to `cmdiff-dicom run` on this machine, and the SEG comes back with storage commitment. Nothing is short-cut.
`--nifti` sends a folder's four sequences (names as in BraTS) instead. Wanted on two cores: at most 20 s from the last C-STORE
response to the SEG in the PACS, without the network's own passes and without the configured quiet time; worker below 3 GB.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from cmdiff_dicom.geometry import Volume
from cmdiff_dicom.phantom.mri import StudyHeader, series_from_volume, write_series
from cmdiff_dicom.phantom.pacs import DemoPacs
from cmdiff_dicom.phantom.study import COUNTS, Protocol, grid_of
from cmdiff_dicom.records import Sequence
from tests.support.nifti_dicom import brats_files, write_nifti_study
from tests.support.node import QUIET_S, free_port, running_node, stage_seconds, wait_for_result

WANTED_S, WANTED_GB = 20.0, 3.0
PROTOCOL = Protocol((155, 240, 240), (1.0, 1.0, 1.0), 1.0)


def write_head(folder: Path, seed: int = 1) -> Path:
    """Four series of the same synthetic head, each on a 155 x 240 x 240 grid tilted by up to 5 degrees."""
    from cmdiff_dicom.synthesis import acquire, make_head, render

    head, study = make_head(seed), StudyHeader.of_seed(seed)
    rng = np.random.default_rng(seed)
    for number, sequence in enumerate(Sequence, start=1):
        x, y, z = (float(angle) for angle in rng.uniform(-5, 5, size=3))
        grid = grid_of(PROTOCOL, (x, y, z), study.frame_of_reference_uid)
        scanned = acquire(render(head, sequence, bias=0.15), grid, noise=0.02, seed=number)
        counts = Volume(np.round(scanned.array * COUNTS), grid, sequence.value)
        write_series(series_from_volume(counts, sequence, study, number=number), folder / sequence.value)
    return folder


def peak_gb_of_children(parent: int) -> dict[str, float]:
    """Peak memory in GB of every process below `parent`, by what it was started as."""
    import psutil

    peaks: dict[str, float] = {}
    for process in psutil.Process(parent).children(recursive=True):
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak_kb = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)
        command = " ".join(part for part in process.cmdline()[1:] if "/" not in part).strip() or process.name()
        peaks[command] = max(peaks.get(command, 0.0), peak_kb / 1e6)
    return peaks


def measure(folder: Path, study: Path, weights: str) -> bool:
    """Sends the study through the node and prints what it took; True where both bounds hold."""
    port = free_port()
    with DemoPacs(folder / "pacs", "PACS", routes_to=("CMDIFF", "127.0.0.1", port)) as pacs:
        with running_node(folder / "node", port, (pacs.ae_title, pacs.port), weights) as node:
            began = time.monotonic()
            sent = pacs.route(study)
            stored = time.monotonic()
            while pacs.stored_segmentation() is None and time.monotonic() - stored < 900:
                time.sleep(0.05)
            back = time.monotonic() - stored
            job = wait_for_result(node.ledger)
            peaks = peak_gb_of_children(node.pid)
    stages = stage_seconds(folder / "node")
    besides = back - QUIET_S - stages["analyse.segment"]
    print(f"load of the machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; seconds count only on an idle one")
    print(f"{sent} instances received in {stored - began:.1f} s; job {job.state.name}")
    for step, seconds in stages.items():
        print(f"  {step:24} {seconds:7.2f} s")
    print(f"last C-STORE response to SEG in the PACS: {back:.1f} s; without quiet time and network: {besides:.1f} s (wanted {WANTED_S:g})")
    for command, peak in peaks.items():
        print(f"  peak {peak:5.2f} GB  {command}")
    print(f"worker's peak wanted below {WANTED_GB:g} GB")
    return besides <= WANTED_S and max(peaks.values()) < WANTED_GB


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="", help="other weights than those that ship")
    parser.add_argument("--nifti", type=Path, help="a folder with four sequences as NIfTI instead of the synthetic head")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cmdiff-bench-") as name:
        folder = Path(name)
        if arguments.nifti:
            study = write_nifti_study(folder / "study", brats_files(arguments.nifti), key=arguments.nifti.name)
        else:
            study = write_head(folder / "study")
        return 0 if measure(folder, study, arguments.weights) else 1


if __name__ == "__main__":
    sys.exit(main())
