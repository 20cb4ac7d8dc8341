"""Which weights: their file's digest, and name and version from the recipe inside, read without torch.

The dispatcher needs the identity for the job key and runs where no torch is installed. A safetensors file begins with
eight bytes, little-endian, that say how long the JSON header after them is; the recipe is text in that header's metadata.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from cmdiff_dicom.errors import WeightsFault
from cmdiff_dicom.records import ModelIdentity
from cmdiff_dicom.segment.recipe import Recipe

SHIPPED = Path(__file__).parent / "shipped" / "cmdiff.safetensors"


def shipped_digest() -> str:
    """The sha256 that the shipped weights must have, as it stands beside them. Raises: WeightsFault where it does not."""
    beside = SHIPPED.with_suffix(".sha256")
    try:
        return beside.read_text(encoding="ascii").split()[0]
    except (OSError, IndexError):
        raise WeightsFault(
            f"{beside}: the digest of the shipped weights is missing; reinstall, or name other weights"
        ) from None


def read_weights(path: Path, sha256: str | None) -> tuple[bytes, str]:
    """The file's bytes and their digest. Raises: WeightsFault where it cannot be read, or is not the one of `sha256`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsFault(
            f"the weights file {path} cannot be read ({type(error).__name__}); reinstall, or name another"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise WeightsFault(f"the weights file {path} has sha256 {found[:12]}..., wanted {sha256[:12]}...; it was altered")
    return content, found


def weights_identity(weights: Path | None = None) -> ModelIdentity:
    """Name, version and digest of the given weights, or of those that ship.

    Raises: WeightsFault where the file is missing or damaged, or the shipped one was altered.
    """
    path = weights or SHIPPED
    content, found = read_weights(path, None if weights else shipped_digest())
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        recipe = header["__metadata__"]["recipe"]
    except (ValueError, KeyError, TypeError):
        raise WeightsFault(f"the weights file {path} is damaged, or was not made by `cmdiff-dicom train`") from None
    said = Recipe.from_json(recipe)
    return ModelIdentity(said.name, said.version, found)
