"""A trained model as a bioimage.io package: weights for PyTorch and as ONNX, test tensors, documentation, licence.

Needs the packages of requirements-export.txt. The specification: https://bioimage-io.github.io/spec-bioimage-io
"""

from __future__ import annotations

import inspect
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from bioimageio.spec import InvalidDescr, load_description, save_bioimageio_package
from bioimageio.spec.dataset import v0_3 as dataset
from bioimageio.spec.model import v0_5 as spec
from numpy.typing import NDArray

from nuclei.base import files
from nuclei.base.citation import Citation
from nuclei.base.errors import InputError
from nuclei.export import graph
from nuclei.export.card import Run
from nuclei.export.packaged import LandscapeNet, Watershed
from nuclei.network import components, labelling
from nuclei.network.labelling import SMOOTHING_PX
from nuclei.network.model import HEAD_CHANNELS, MEAN, STD, NucleusNet, save_tensors
from nuclei.network.runtime import INPUT, OPSET, STRIDE
from nuclei.network.segmenter import Segmenter, Settings
from nuclei.network.sizing import diameter, zoom_to, zoomed_image

TEST_PX = 256  # sides of the test image, at most
PROBABILITY, NUCLEI = "probability", "nuclei"
ARTICLE = "Caicedo et al. (2019): Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl"
DOI = "10.1038/s41592-019-0612-7"

NETWORK_SOURCE = f'''"""The network of this package, which needs torch and segmentation_models_pytorch 0.6."""

from __future__ import annotations

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

HEAD_CHANNELS = {HEAD_CHANNELS}


def _unet(arch, encoder_name, encoder_weights):
    return smp.create_model(arch, encoder_name, encoder_weights=encoder_weights, in_channels=3, classes=1)
'''
WATERSHED_SOURCE = '''"""From the network's landscape to a label map, which needs NumPy, SciPy and scikit-image."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage import measure
from skimage.morphology import local_maxima
from skimage.segmentation import watershed
'''
INVERTS = {
    False: "",
    True: ", and inverts gray ones with a light background",
    "auto": ", and sees gray ones with a light background inverted too",
}
VALIDATION = """
## Validation

Compare the label maps with annotated images that the model has not seen, by the average precision TP / (TP + FP + FN)
of the nuclei at IoU 0.50 to 0.95. The scores above are those of the project's own code, which does more than this
package: it rescales each image, so that its nuclei measure about {diameter} in diameter; it normalises
light images differently{inverts}; it can average over flips; it drops nuclei with a low score, and all of an image
without a sure one; and it predicts large images in overlapping tiles.
"""


def write(
    segmenter: Segmenter, example: NDArray[np.uint8], card: str, citation: Citation, run: Run | None, path: Path
) -> None:
    """Write the package, a zip file.

    Args:
        segmenter: on the CPU.
        example: (H, W, 3) uint8, an image whose nuclei the model finds: the test tensors are made of it.
        card: the model card, which becomes the package's documentation.
        citation: of the project.
        run: what is known of the model's training; None for nothing.
        path: of the zip file.

    Raises:
        InputError: the model has no second head, nothing is found in the example, or the specification refuses what
            was made.
    """
    settings = segmenter.settings
    if settings.instance_target == "none":
        fix = "train with train.instance_target: distance"
        raise InputError("a model without a second head can not be packaged", got="instance_target none", fix=fix)
    rgb = _test_image(segmenter, example)
    kwargs: dict[str, Any] = {
        "arch": settings.arch,
        "encoder_name": settings.encoder_name,
        "target": settings.instance_target,
        "foreground": settings.foreground,
    }
    net = LandscapeNet(**kwargs)
    net.net.load_state_dict(segmenter.net.state_dict())
    net.eval()
    with TemporaryDirectory() as scratch, files.replacing(path) as temporary:
        folder = Path(scratch)
        with torch.inference_mode():
            probability, landscape = (tensor.numpy() for tensor in net(torch.from_numpy(_normalised(rgb, settings))))
        postprocess = Watershed(settings.saddle_ratio, settings.min_area_px, SMOOTHING_PX)
        labels = postprocess(landscape)
        if not labels.any():
            raise InputError("the model finds nothing in the example", fix="give an image with nuclei in it")
        np.save(folder / "image.npy", rgb)
        np.save(folder / f"{PROBABILITY}.npy", probability)
        np.save(folder / f"{NUCLEI}.npy", labels)
        save_tensors(net.state_dict(), folder / "weights.pth")
        graph.export(net, [PROBABILITY, "landscape"], folder / "weights.onnx", jump=settings.foreground)
        files.write_text(folder / "network.py", _source(NETWORK_SOURCE, NucleusNet, LandscapeNet))
        parts = (components.components, components.renumber, labelling._Basins, labelling.saddles, Watershed)
        files.write_text(folder / "watershed.py", _source(WATERSHED_SOURCE, *parts))
        expected = "their usual size" if settings.diameter_px is None else f"{settings.diameter_px:g} px"
        files.write_text(
            folder / "README.md",
            card + VALIDATION.format(diameter=expected, inverts=INVERTS[settings.invert_light]),
        )
        described = _description(folder, settings, kwargs, citation, run, expected)
        save_bioimageio_package(described, output_path=temporary, allow_invalid=True)
        found = load_description(temporary)
        if isinstance(found, InvalidDescr):
            raise InputError("the package does not keep to the specification", file=path, got=found.validation_summary)


def _test_image(segmenter: Segmenter, example: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(1, 3, H, W) of the example at the scale that the network expects: at most TEST_PX, multiples of 32."""
    target = segmenter.settings.diameter_px
    if target is not None:
        example = zoomed_image(example, zoom_to(target, diameter(segmenter.segment(example))))
    height, width = (min(side, TEST_PX) // STRIDE * STRIDE for side in example.shape[:2])
    if not height or not width:
        raise InputError(
            "the example is too small", got=f"{example.shape[:2]}", expected=f"at least {STRIDE} px a side"
        )
    return np.ascontiguousarray(np.moveaxis(example[:height, :width], 2, 0)[None])


def _normalised(image: NDArray[np.uint8], settings: Settings) -> NDArray[np.float32]:
    """(1, 3, H, W): what the preprocessing of `_description` does."""
    low, high = np.percentile(image, [settings.normalise_low, settings.normalise_high])
    scaled = np.clip((image - low) / (high - low + 1e-6), 0, 1)
    mean, std = (np.array(values)[:, None, None] for values in (MEAN, STD))
    return ((scaled - mean) / std).astype(np.float32)


def _source(head: str, *parts: Any) -> str:
    """A module of the source code of classes and functions, in the order in which they need each other."""
    return "\n\n".join([head, *(inspect.getsource(part) for part in parts)])


def _description(
    folder: Path, settings: Settings, kwargs: dict[str, Any], citation: Citation, run: Run | None, diameter: str
) -> spec.ModelDescr:
    """Describe the package whose files lie in `folder`."""

    def file(name: str) -> spec.FileDescr:
        return spec.FileDescr(source=folder / name)

    def output(name: str, described: str, postprocessing: list[Any]) -> spec.OutputTensorDescr:
        return spec.OutputTensorDescr(
            id=spec.TensorId(name),
            description=described,
            axes=[spec.BatchAxis(), spec.ChannelAxis(channel_names=[spec.Identifier(name)]), *map(same_size, "yx")],
            test_tensor=file(f"{name}.npy"),
            postprocessing=postprocessing,
            data=spec.IntervalOrRatioDataDescr(type="float32"),
        )

    def same_size(axis: str) -> spec.SpaceOutputAxis:
        size = spec.SizeReference(tensor_id=spec.TensorId(INPUT), axis_id=spec.AxisId(axis))
        return spec.SpaceOutputAxis(id=spec.AxisId(axis), size=size)

    authors = [spec.Author(name=name) for name in citation.authors]
    sides = [
        spec.SpaceInputAxis(id=spec.AxisId(axis), size=spec.ParameterizedSize(min=STRIDE, step=STRIDE)) for axis in "yx"
    ]
    image = spec.InputTensorDescr(
        id=spec.TensorId(INPUT),
        description=f"An RGB image, gray in all channels for fluorescence; nuclei of {diameter} in diameter",
        axes=[
            spec.BatchAxis(),
            spec.ChannelAxis(channel_names=list(map(spec.Identifier, ("red", "green", "blue")))),
            *sides,
        ],
        test_tensor=file("image.npy"),
        data=spec.IntervalOrRatioDataDescr(type="uint8"),
        preprocessing=[
            spec.EnsureDtypeDescr(kwargs=spec.EnsureDtypeKwargs(dtype="float32")),
            spec.ScaleRangeDescr(
                kwargs=spec.ScaleRangeKwargs(
                    axes=[spec.AxisId(axis) for axis in ("channel", "y", "x")],
                    min_percentile=settings.normalise_low,
                    max_percentile=settings.normalise_high,
                )
            ),
            spec.ClipDescr(kwargs=spec.ClipKwargs(min=0.0, max=1.0)),
            spec.FixedZeroMeanUnitVarianceDescr(
                kwargs=spec.FixedZeroMeanUnitVarianceAlongAxisKwargs(
                    mean=list(MEAN), std=list(STD), axis=spec.AxisId("channel")
                )
            ),
            spec.EnsureDtypeDescr(kwargs=spec.EnsureDtypeKwargs(dtype="float32")),  # else it ends in the image's own
        ],
    )
    watershed = spec.CustomProcessingDescr(
        callable="Watershed",
        source=folder / "watershed.py",
        kwargs={
            "saddle_ratio": settings.saddle_ratio,
            "min_area_px": settings.min_area_px,
            "smoothing_px": SMOOTHING_PX,
        },
    )
    network = spec.ArchitectureFromFileDescr(
        callable=spec.Identifier("LandscapeNet"), source=folder / "network.py", kwargs=kwargs
    )
    return spec.ModelDescr(
        name=f"Nuclei {settings.arch} {settings.encoder_name}",
        description=f"Segments every nucleus of a 2D microscopy image in which nuclei measure {diameter} in diameter.",
        version=spec.Version(citation.version),
        authors=authors,
        cite=[spec.CiteEntry(text=ARTICLE, doi=spec.Doi(DOI))],
        license=spec.LicenseId(citation.licence),
        tags=[
            "nuclei",
            "segmentation",
            "instance-segmentation",
            "unet2d",
            "2d",
            "fluorescence",
            "histology",
            "pytorch",
        ],
        documentation=file("README.md"),
        training_data=None if run is None else _training_data(run),
        inputs=[image],
        outputs=[
            output(PROBABILITY, "The probability that a pixel belongs to a nucleus", []),
            output(NUCLEI, "The label map: 0 is background, 1 to n are the nuclei", [watershed]),
        ],
        weights=spec.WeightsDescr(
            pytorch_state_dict=spec.PytorchStateDictWeightsDescr(
                source=folder / "weights.pth",
                architecture=network,
                pytorch_version=spec.Version(torch.__version__.split("+")[0]),
            ),
            onnx=spec.OnnxWeightsDescr(
                source=folder / "weights.onnx", opset_version=OPSET, parent="pytorch_state_dict"
            ),
        ),
        config=spec.Config(
            bioimageio=spec.BioimageioConfig(
                architecture_type=settings.arch,
                task="instance segmentation",
                target_structure=["nuclei"],
                modality="fluorescence, bright-field and histology",
            )
        ),
    )


def _training_data(run: Run) -> dataset.DatasetDescr:
    return dataset.DatasetDescr(
        name="Synthetic nuclei" if run.synthetic else "Images and annotations of nuclei",
        description=f"{run.data[0].upper()}{run.data[1:]}",
        license=spec.LicenseId("CC0-1.0") if "CC0" in run.data else None,
        cite=[spec.CiteEntry(text=ARTICLE, doi=spec.Doi(DOI))] if "Data Science Bowl" in run.data else [],
    )
