"""The full model with an encoder averaged with its control's, where both were fine-tuned from the same weights.

    python tests/bench/average_encoders.py FULL CONTROL SHARE OUT

SHARE is the control's part, 0 to 1. The layers that feed the denoiser stay the full model's, since a control never trains
them. What was chosen on the tuning studies before is reset: fine-tune OUT with `cmdiff-dicom train --from OUT`, which
chooses it anew. Not collected by pytest.
"""

import sys
from pathlib import Path

from cmdiff_dicom.segment.recipe import Recipe
from cmdiff_dicom.segment.weights import load_weights, save_weights

OWN = ("encoder.fine.", "encoder.coarse.")
CHOSEN = ("direct_weight", "temperatures", "min_tumour_mm3", "min_confidence", "min_enhancing_mm3")


def main(full: str, control: str, share: str, out: str) -> None:
    network, recipe, _ = load_weights(Path(full))
    others, part = load_weights(Path(control))[0].state_dict(), float(share)
    averaged = {
        name: value if name not in others or name.startswith(OWN) else (1 - part) * value + part * others[name]
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(averaged)
    anew = recipe.but(steps=1, samples=2, **{name: getattr(Recipe(), name) for name in CHOSEN})
    sys.stdout.write(f"{out} has sha256 {save_weights(Path(out), network, anew)}\n")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
