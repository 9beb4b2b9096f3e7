"""Record the content of the user's own files, so that DVC notices when it changes.

Reads:      the files that `data`, `split.list`, `train.encoder_weights` and `train.start_from` name; never the network
Writes:     data/source.json; data/split_list.json, data/encoder_weights.json and data/start_from.json, null where none
            is named
Parameters: data, split.list, train.encoder_weights, train.start_from

It runs every time (`always_changed` in dvc.yaml), so it imports little and only hashes. fetch, split and train depend
on its outputs and run again when those change. A path that does not exist is an error here, before any work. The
outputs do not depend on where the files or the repository are.
"""

from __future__ import annotations

from pathlib import Path

from nuclei.base import userfiles
from nuclei.base.errors import run
from nuclei.base.files import write_json
from nuclei.base.params import load
from nuclei.fetch import sources

SOURCE = Path("data/source.json")
SPLIT_LIST, ENCODER_WEIGHTS = Path("data/split_list.json"), Path("data/encoder_weights.json")
START_FROM = Path("data/start_from.json")
OUTPUTS = (
    "data/raw",
    "data/prepared",
    "data/unlabelled",
    "data/split.csv",
    "data/model",
    "data/predictions",
    "data/submission",
    "data/export",
    "data/.download",
    "reports",
)


def main() -> None:
    params, here = load(), Path.cwd()
    split_list = None if params.split.list is None else userfiles.absolute(params.split.list, here)
    weights = userfiles.encoder_weights(params.train.encoder_weights, here)
    model = userfiles.start_model(params.train.start_from, here)
    found = {
        SPLIT_LIST: userfiles.describe(
            "split.list", split_list, here, OUTPUTS, expected="null, or a CSV of id,part", keywords=["null"]
        ),
        ENCODER_WEIGHTS: userfiles.describe(
            "train.encoder_weights",
            weights,
            here,
            OUTPUTS,
            expected="null, imagenet, or a .pth or .safetensors file",
            keywords=["null", userfiles.IMAGENET],
        ),
        START_FROM: userfiles.describe_model("train.start_from", model, here, OUTPUTS),
        SOURCE: sources.describe(params.data, here, OUTPUTS),
    }
    for path, description in found.items():
        write_json(path, description)


if __name__ == "__main__":
    run(main)
