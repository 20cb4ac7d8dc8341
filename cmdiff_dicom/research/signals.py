"""Which sign of doubt finds the errors: the answer's entropy, or how far samples and steps differ.

A diagnosis: AUROC of each sign against error, within 10 mm of the tumour, mean of the regions; 0.5 finds nothing.
"""

from __future__ import annotations

import numpy as np
import torch

from cmdiff_dicom.research.answers import ask, averaged, brought_home
from cmdiff_dicom.research.augment import TrainingStudy
from cmdiff_dicom.research.comparison import VOLUME
from cmdiff_dicom.research.metrics import auroc
from cmdiff_dicom.restore import regions_from_labels
from cmdiff_dicom.segment.segmenter import Segmenter
from cmdiff_dicom.segment.uncertainty import entropy, mutual_information, seed_variance, step_variance, volume_variation

STEPS, SAMPLES = 4, 4
NEAR_MM = 10


def signals(model: Segmenter, study: TrainingStudy) -> dict[str, float]:
    """AUROC by sign of doubt; and the coefficient of variation of the whole tumour's volume over samples."""
    recipe = model.recipe.but(steps=STEPS, samples=SAMPLES)
    said = brought_home(ask(model.network, study, recipe, model.device, model.half, all_steps=True), study)
    assert said.sampled is not None
    answer = torch.from_numpy(averaged(said, study, recipe.direct_weight, SAMPLES))
    truth = regions_from_labels(study.labels)
    wrong = (answer.numpy() >= recipe.threshold) != truth
    near = study.brain & (study.depth <= NEAR_MM)
    signs = {
        "entropy of the answer": entropy(answer),
        "variance over samples": seed_variance(said.sampled),
        "variance over steps": step_variance(said.sampled),
        "mutual information": mutual_information(said.sampled),
    }
    found = {
        name: float(np.nanmean([auroc(field[near], error[near]) for field, error in zip(sign.numpy(), wrong, strict=True)]))
        for name, sign in signs.items()
    }
    return found | {VOLUME: float(volume_variation(said.sampled, recipe.threshold)[0])}
