"""Compares versions that answered the same logged pictures as the champion, above all a challenger in its shadow."""

from typing import Any

import numpy as np
import pandas as pd

from pipeline.evaluation.statistics import mcnemar_p_value
from pipeline.monitoring.drift import Window, title
from pipeline.registry.versions import CHALLENGER


def compare_with_champion(window: Window, champion: str) -> list[dict[str, Any]]:
    """One row for each version that answered pictures of the champion; `champion`: the number of its version.

    `agreement` is the share of the `pictures` with the same prediction. Of the `labelled` ones, `accuracy` and
    `champion_accuracy` are the shares of correct predictions, and `p_value` is that of McNemar's test; else None.
    """
    groups = {str(number): group for number, group in window.predictions.groupby("version")}
    titles = {number: title((_name(group), number)) for number, group in groups.items()}
    groups = {number: group.drop_duplicates("picture") for number, group in groups.items()}
    if champion not in groups:
        return []
    incumbent = groups.pop(champion)
    rows = []
    for number, answers in groups.items():
        both = answers.merge(incumbent, on="picture", suffixes=("", "_champion"))
        if not len(both):
            continue
        labels = window.labels[both["picture"].to_numpy(int)]
        new, old = (both[column].to_numpy(int) for column in ("prediction", "prediction_champion"))
        right, champion_right = ((found == labels)[labels >= 0] for found in (new, old))
        known = bool(len(right))
        rows.append(
            {
                "challenger": titles[number],
                "champion": titles[champion],
                "pictures": len(both),
                "agreement": float(np.mean(new == old)),
                "labelled": len(right),
                "accuracy": float(right.mean()) if known else None,
                "champion_accuracy": float(champion_right.mean()) if known else None,
                "p_value": mcnemar_p_value(champion_right, right) if known else None,
            }
        )
    return rows


def _name(answers: pd.DataFrame) -> str:
    """The name of a version. One that was promoted has answered as `challenger` and under the name of its entry."""
    return min({*answers["model"]} - {CHALLENGER}, default=CHALLENGER)


def describe_comparison(row: dict[str, Any]) -> str:
    """A row of `compare_with_champion` as one line."""
    text = (
        f"{row['challenger']} and the champion {row['champion']} agree on {row['agreement']:.2%} of {row['pictures']:,}"
    )
    if not row["labelled"]:
        return f"{text} pictures, of which none is labelled"
    accuracies = f"{row['accuracy']:.2%} and {row['champion_accuracy']:.2%}"
    return f"{text} pictures; correct on {row['labelled']:,} labelled ones: {accuracies}, p = {row['p_value']:.2g}"
