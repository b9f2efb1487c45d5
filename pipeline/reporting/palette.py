"""Colours of charts and reports; each model has the same colour everywhere."""

COLOURS = ("#2f6fed", "#e0602b", "#1b9e77", "#8e5bd0", "#b8860b", "#c2407f")  # distinguishable by colour-blind readers
INK = "#777777"  # lines and text of charts, readable on white and black; pages replace it by their own text colour


def colour(index: int) -> str:
    """The colour of the model at this position in `params.yaml`."""
    return COLOURS[index % len(COLOURS)]
