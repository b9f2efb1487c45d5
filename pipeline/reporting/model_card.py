"""The reports of one model: its card, its metrics, and the tables that `dvc plots` draws."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.data.datasets import Dataset
from pipeline.data.splits import Split
from pipeline.evaluation.calibration import Probabilities
from pipeline.files import write_json, write_text
from pipeline.reporting.rendering import render


def write_model_reports(
    folder: Path,
    details: dict[str, Any],
    evaluation: dict[str, Any],
    probabilities: Probabilities,
    test: Split,
    dataset: Dataset,
) -> None:
    """Write `model_card.md`, `metrics.json`, `confusion.csv`, `robustness.csv` and `reliability.csv` to `folder`.

    `details`: further values of the card's template; `probabilities`: (n, classes), for the images of `test`.
    """
    write_json(folder / "metrics.json", evaluation["metrics"])
    card = render("model_card.md", name=folder.name, dataset=dataset, evaluation=evaluation, **details)
    write_text(folder / "model_card.md", card)
    names = np.array(dataset.classes)
    errors = evaluation["metrics"]["robustness"].items()
    for table, rows in (
        ("confusion", {"label": names[test.labels], "predicted": names[probabilities.argmax(axis=1)]}),
        ("robustness", {"corruption": [name for name, _ in errors], "error": [error for _, error in errors]}),
        ("reliability", evaluation["reliability"]),
    ):
        pd.DataFrame(rows).to_csv(folder / f"{table}.csv", index=False)
