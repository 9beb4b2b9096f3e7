"""Export a trained model for other programs: an ONNX graph, a model card and, on request, a bioimage.io package.

    python stages/export.py                                    # the stage: data/model to data/export
    python stages/export.py MODEL -o OUT                       # the folder of any model
    python stages/export.py MODEL -o OUT --bioimageio IMAGE    # and a package, whose test image is made of IMAGE
    python stages/export.py MODEL -o OUT --folds TABLE         # with the scores of a cross-validation in the card

Reads:      MODEL, its NOTES.md where there is one, CITATION.cff and, where MODEL is the data/model of a workspace, that
            workspace's params.yaml, data/source.json, data/prepared/index.csv, data/split.csv, reports/metrics.json,
            metrics_ci.json, by_stratum.csv and run.js
Writes:     OUT: model.onnx, MODEL.md and, with --bioimageio, nuclei.bioimageio.zip
Parameters: seed, epochs, train: shown, not used

reports/run.js is no dependency in dvc.yaml, because it differs from run to run. The card takes the processor and the
package versions from it, which do not, and only if it is of the same weights.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from nuclei.base.errors import InputError, run

MODEL, OUT = Path("data/model"), Path("data/export")
PARAMS, GRAPH, PACKAGE, NOTES = Path("params.yaml"), "model.onnx", "nuclei.bioimageio.zip", "NOTES.md"
CITATION = Path(__file__).resolve().parents[1] / "CITATION.cff"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, default=MODEL, help="the folder of a trained model")
    parser.add_argument("-o", "--out", type=Path, default=OUT, help="the folder to write")
    parser.add_argument("--bioimageio", type=Path, metavar="IMAGE", help="write a bioimage.io package too")
    parser.add_argument(
        "--folds", type=Path, nargs="+", default=[], metavar="TABLE", help="add to the card, of repeats.py"
    )
    arguments = parser.parse_args()
    if arguments.out.exists() and (arguments.out == arguments.model or not is_export(arguments.out)):
        fix = "give a folder that does not exist yet, or one that an export wrote"
        raise InputError("the folder to write holds something else", file=arguments.out, fix=fix)

    # torch takes seconds to import: a wrong folder is reported before
    from nuclei.base import citation, files
    from nuclei.base.params import load
    from nuclei.export import card, graph
    from nuclei.images.io import read_rgb
    from nuclei.network.segmenter import SETTINGS, WEIGHTS, Segmenter

    folds = {path.name: card.read_folds(path) for path in arguments.folds}
    segmenter = Segmenter.load(arguments.model, device="cpu")
    cited = citation.read(CITATION)
    known = None
    if (workspace := workspace_of(arguments.model)) is not None:
        params = load(workspace / PARAMS)
        recipe = {"seed": params.seed, "epochs": params.epochs, "train": asdict(params.train)}
        known = card.read_run(workspace, files.sha256(arguments.model / WEIGHTS), recipe)
    with files.replacing(arguments.out) as folder:
        folder.mkdir()
        difference = graph.write(segmenter, folder / GRAPH)
        described = [*sorted(arguments.model.glob("*.pth")), arguments.model / SETTINGS, folder / GRAPH]
        card.write(folder / card.NAME, segmenter.settings, cited, known, described, folds, notes_of(arguments.model))
        if arguments.bioimageio:
            try:
                from nuclei.export import package
            except ModuleNotFoundError as error:
                fix = "pip install -r requirements-export.txt"
                raise InputError("bioimage.io needs packages that are not installed", got=error, fix=fix) from None
            text = (folder / card.NAME).read_text(encoding="utf-8")
            package.write(segmenter, read_rgb(arguments.bioimageio), text, cited, known, folder / PACKAGE)
    print(f"{arguments.out}: the graph differs from torch by at most {difference:.1g}")


def notes_of(model: Path) -> str:
    """What the folder of a model says of its training, in NOTES.md; nothing if there is no such file."""
    return (model / NOTES).read_text(encoding="utf-8") if (model / NOTES).exists() else ""


def is_export(folder: Path) -> bool:
    """Whether a folder is empty or holds nothing but what this script writes."""
    return folder.is_dir() and {path.name for path in folder.iterdir()} <= {GRAPH, "MODEL.md", PACKAGE}


def workspace_of(model: Path) -> Path | None:
    """The workspace of the pipeline that a model's folder is the data/model of, None if it lies elsewhere."""
    workspace = model.resolve().parents[1]
    return workspace if model.resolve() == workspace / MODEL and (workspace / PARAMS).exists() else None


if __name__ == "__main__":
    run(main)
