"""The full model with an encoder averaged with its control's, where both were fine-tuned from the same weights.

    python tests/bench/average_encoders.py FULL CONTROL SHARE DATA OUT VERSION

SHARE is the control's part, 0 to 1. The layers that feed the denoiser stay the full model's, since a control never trains
them. What is chosen on the tuning studies (steps, samples, averaging, temperatures, rules) is chosen anew, on those of DATA.
Not collected by pytest.
"""

import sys
from pathlib import Path

from cmdiff_dicom.research.calibrate import calibrated
from cmdiff_dicom.research.console import tell
from cmdiff_dicom.research.studies import load_studies
from cmdiff_dicom.segment.recipe import Recipe
from cmdiff_dicom.segment.segmenter import Segmenter
from cmdiff_dicom.segment.weights import load_weights, save_weights

OWN = ("encoder.fine.", "encoder.coarse.")
CHOSEN = (
    "direct_weight",
    "temperatures",
    "min_tumour_mm3",
    "min_confidence",
    "min_enhancing_mm3",
    "min_enhancing_confidence",
    "min_main_confidence",
)


def main(full: str, control: str, share: str, data: str, out: str, version: str) -> None:
    network, recipe, _ = load_weights(Path(full))
    others, part = load_weights(Path(control))[0].state_dict(), float(share)
    averaged = {
        name: value if name not in others or name.startswith(OWN) else (1 - part) * value + part * others[name]
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(averaged)
    plain = recipe.but(version=version, **{name: getattr(Recipe(), name) for name in CHOSEN})
    serving = Segmenter(network, plain, "")
    studies = list(load_studies(Path(data), tell, set(recipe.split["tune"])).values())
    chosen = calibrated(serving.network, plain, studies, "cpu", serving.half, tell)
    sys.stdout.write(f"{out} has sha256 {save_weights(Path(out), network, chosen)}\n")


if __name__ == "__main__":
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    main(*sys.argv[1:])
