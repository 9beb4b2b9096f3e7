"""The notebook that this project grew out of, as its users write it: what the pipeline is measured against.

    python tests/benchmarks/notebook.py ARCHIVE SPLIT [--epochs 5]

It unzips an archive in Kaggle's layout, decodes the mask of every single nucleus again in every epoch, resizes all to
256 x 256, trains a U-Net (resnet34, random weights) with Adam at 0.0001 in batches of 8, validates, prints Dice, IoU,
a classification report, a confusion matrix and the area under the ROC curve, and saves unet_final_model.pth. Only the
split is not its own: it takes the parts train and val of SPLIT, so that both train on the same images. After each epoch
it prints one line of JSON. The network's speed is left as torch has it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import segmentation_models_pytorch as smp
import torch
from albumentations import Compose, Normalize, Resize
from albumentations.pytorch import ToTensorV2
from sklearn.metrics import auc, classification_report, confusion_matrix, roc_curve
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

SIDE, BATCH, LEARNING_RATE = 256, 8, 1e-4
TRANSFORM = Compose([Resize(SIDE, SIDE), Normalize(), ToTensorV2()])


class NucleusDataset(Dataset[tuple[Tensor, Tensor]]):
    """One image and the union of its nuclei's masks, read from their files each time."""

    def __init__(self, folder: Path, ids: list[str]) -> None:
        self.folder, self.ids = folder, ids

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        id = self.ids[index]
        image = cv2.cvtColor(cv2.imread(str(self.folder / id / "images" / f"{id}.png")), cv2.COLOR_BGR2RGB)
        mask = np.zeros(image.shape[:2], np.uint8)
        for path in (self.folder / id / "masks").glob("*.png"):
            mask = np.maximum(mask, cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
        both = TRANSFORM(image=image, mask=mask)
        return both["image"], (both["mask"] > 0).float()[None]


class DiceBCELoss(nn.Module):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        cross_entropy = nn.functional.binary_cross_entropy_with_logits(logits, target)
        probability = torch.sigmoid(logits)
        overlap = (probability * target).sum()
        return cross_entropy + 1 - (2 * overlap + 1) / (probability.sum() + target.sum() + 1)


def validate(model: nn.Module, loader: DataLoader[Any]) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
    """Mean Dice and IoU of the images, and the truth and probability of every pixel."""
    model.eval()
    dices, ious, truths, probabilities = [], [], [], []
    with torch.no_grad():
        for images, masks in loader:
            probability = torch.sigmoid(model(images))
            predicted = (probability > 0.5).float()
            overlap = (predicted * masks).sum((1, 2, 3))
            total = predicted.sum((1, 2, 3)) + masks.sum((1, 2, 3))
            dices.append((2 * overlap + 1e-7) / (total + 1e-7))
            ious.append((overlap + 1e-7) / (total - overlap + 1e-7))
            truths.append(masks.numpy().ravel())
            probabilities.append(probability.numpy().ravel())
    scores = {"val_dice": float(torch.cat(dices).mean()), "val_iou": float(torch.cat(ious).mean())}
    return scores, np.concatenate(truths), np.concatenate(probabilities)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, help="a zip in Kaggle's layout: ID/images/ID.png, ID/masks/*.png")
    parser.add_argument("split", type=Path, help="a CSV of id,part, as the stage split writes it")
    parser.add_argument("--epochs", type=int, default=5)
    given = parser.parse_args()
    torch.manual_seed(0)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="notebook-") as temporary:
        folder = Path(temporary)
        with zipfile.ZipFile(given.archive) as archive:
            archive.extractall(folder)
        print(json.dumps({"unzip_s": round(time.monotonic() - start, 2)}), flush=True)
        split = pd.read_csv(given.split)
        parts = {part: list(ids) for part, ids in split.groupby("part")["id"]}
        train = DataLoader(NucleusDataset(folder, parts["train"]), batch_size=BATCH, shuffle=True)
        val = DataLoader(NucleusDataset(folder, parts["val"]), batch_size=BATCH)
        model = smp.Unet("resnet34", encoder_weights=None, in_channels=3, classes=1)
        criterion, optimizer = DiceBCELoss(), torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
        for epoch in range(1, given.epochs + 1):
            model.train()
            for images, masks in train:
                optimizer.zero_grad()
                loss = criterion(model(images), masks)
                loss.backward()
                optimizer.step()
            scores, truth, probability = validate(model, val)
            print(json.dumps({"epoch": epoch, "seconds": round(time.monotonic() - start, 2), **scores}), flush=True)
        predicted = probability > 0.5
        print(classification_report(truth, predicted))
        print(confusion_matrix(truth, predicted))
        fpr, tpr, _ = roc_curve(truth, probability)
        print("ROC AUC", auc(fpr, tpr))
        torch.save(model.state_dict(), folder / "unet_final_model.pth")


if __name__ == "__main__":
    main()
