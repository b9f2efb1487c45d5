"""The colour of each model, the same in every chart and report."""

COLOURS = ("#2f6fed", "#e0602b", "#1b9e77", "#8e5bd0", "#b8860b", "#c2407f")  # told apart by colour-blind readers too
INK = (
    "#777777"  # lines and letters of charts: readable on white and black; pages put their own text colour in its place
)


def colour(index: int) -> str:
    """The colour of the model at that place in `params.yaml`."""
    return COLOURS[index % len(COLOURS)]
