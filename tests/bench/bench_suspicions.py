"""How often are right studies suspected of exchanged sequences, and how often exchanged ones caught? Not collected by pytest.

    python tests/bench/bench_suspicions.py FOLDER

FOLDER holds BraTS studies. Each is read once and looked at seven times: as it is, and with every pair of its sequences exchanged.
Found on 55 studies of 2013 to 2023, the same on which the limits were set, so that others may do a little worse:

    as they are                 0 suspected
    T1 and T1c exchanged       52 (2 of the other 3 have no enhancing tumour to tell them by)
    T1c and T2 exchanged       50
    any other two exchanged    55
"""

import itertools
import sys
from pathlib import Path

import numpy as np

from cmdiff_dicom.records import Sequence
from cmdiff_dicom.research.brats import UnusableStudy, find_studies, read_study
from cmdiff_dicom.research.suspicions import suspicions


def main():
    counts, studies = {}, 0
    for name, place in find_studies(Path(sys.argv[1])).items():
        try:
            study = read_study(name, place)
        except UnusableStudy as fault:
            print(f"skipped: {fault}")
            continue
        for warning in study.warnings:
            print(f"warning: {warning}")
        brain = np.any([volume.array != 0 for volume in study.volumes.values()], axis=0)
        values, labels = np.stack([study.volumes[sequence].array[brain] for sequence in Sequence]), study.truth[brain]
        counts["as they are"] = counts.get("as they are", 0) + bool(list(suspicions(values, labels)))
        for a, b in itertools.combinations(range(4), 2):
            order = list(range(4))
            order[a], order[b] = b, a
            kind = f"{list(Sequence)[a].value} and {list(Sequence)[b].value} exchanged"
            counts[kind] = counts.get(kind, 0) + bool(list(suspicions(values[order], labels)))
        studies += 1
        print(f"{studies} studies", end="\r", file=sys.stderr)
    for kind, count in counts.items():
        print(f"{kind}: {count} of {studies} suspected")


if __name__ == "__main__":
    main()
