"""Commands for models: datasets, training, the champion, reports. Each imports its module when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.project import Port, in_project, use_model_folder
from pipeline.console import AsJson

Reason = Annotated[str, typer.Option(help="Recorded in the promotion history.")]

app = typer.Typer(rich_markup_mode=None)


@app.command(epilog='Example: digits promote 5 --reason "fewer errors on our forms"')
@in_project
def promote(
    version: Annotated[str, typer.Argument(help="Number of a registered version; digits mlflow lists them.")],
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Make a version the champion.

    The gate must accept it, or a reason must be given."""
    use_model_folder()
    from pipeline.registry import promotion

    promotion.promote(version, reason, as_json)


@app.command(epilog='Example: digits rollback --reason "errors on blue ink"')
@in_project
def rollback(reason: Reason = "", as_json: AsJson = False) -> None:
    """Restore the previous champion. A second rollback undoes the first."""
    use_model_folder()
    from pipeline.registry import promotion

    promotion.rollback(reason, as_json)


@app.command(epilog="Example: digits challenge 6")
@in_project
def challenge(
    version: Annotated[str, typer.Argument(help="Number of a registered version; none ends the comparison.")],
    as_json: AsJson = False,
) -> None:
    """Let services serve a version beside the champion, under the name challenger.

    Services with DIGITS_CHALLENGER=challenger log its answers to the same requests, or give them to a share of the
    clients. `digits monitor` compares both."""
    use_model_folder()
    from pipeline.registry import promotion

    promotion.challenge(version, as_json)


@app.command(epilog="Example: digits champions --json")
@in_project
def champions(as_json: AsJson = False) -> None:
    """Show the champion and the promotion history."""
    from pipeline.registry import promotion

    promotion.show(as_json)


@app.command(epilog="Example: digits report")
@in_project
def report() -> None:
    """Open the comparison report, with the times measured on this machine, in a browser and print its path."""
    from pipeline.reporting import measurements

    measurements.main()


@app.command(epilog="Example: digits mlflow --port 5001")
@in_project
def mlflow(port: Port = 5000) -> None:
    """Start the MLflow UI: experiments, runs, model registry."""
    from pipeline import tracking

    tracking.main(port)


@app.command("import", epilog="Example: digits import drawings shapes --test-share 0.25")
@in_project
def import_dataset(
    folder: Annotated[Path, typer.Argument(help="A folder with a subfolder of pictures for each class.")],
    name: Annotated[str, typer.Argument(help="Name of the dataset, for data.dataset in params.yaml.")],
    test_share: Annotated[float, typer.Option(min=0.01, max=0.9, help="Share of the pictures to test on.")] = 0.2,
    quality_bar: Annotated[
        float, typer.Option(min=0, max=1, help="Validation accuracy that a model needs to become champion.")
    ] = 0.9,
) -> None:
    """Make a dataset of a folder of pictures.

    Pictures may have any size, and colour. The preprocessing of the service converts them to 28x28 grey pixels. The
    names of the subfolders are the classes."""
    from pipeline.data import image_folder

    image_folder.import_folder(folder, name, test_share, quality_bar)


@app.command(epilog="Example: digits sweep")
@in_project
def sweep() -> None:
    """Search hyperparameters.

    sweep: in params.yaml has the ranges. Further or parallel calls continue the same search."""
    from pipeline.training import sweep

    sweep.main()


@app.command(epilog="Example: digits seeds cnn --seeds 3 --json")
@in_project
def seeds(
    model: Annotated[str, typer.Argument(help="An entry of models: in params.yaml.")],
    count: Annotated[int, typer.Option("--seeds", min=2, help="Number of trainings.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Train a model with several seeds and print the mean and the 95% interval of its validation accuracy.

    Interrupted commands resume. With RAY_ADDRESS, the trainings run on a Ray cluster."""
    from pipeline.training import seeds

    seeds.main(model, count, as_json)


@app.command(epilog="Example: digits references mlp-64")
@in_project
def references(
    names: Annotated[list[str] | None, typer.Argument(help="Reference models. Default: all.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Train one epoch on few images.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Train nothing; write the table again.")] = False,
) -> None:
    """Train published reference models.

    Writes docs/references.json and docs/references.md."""
    from pipeline.training import references

    references.main(names, quick, table)
