"""Commands for predictions: a service, and files. Each imports its module when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.project import Port, in_project, use_model_folder
from pipeline.console import AsJson, PipelineError

app = typer.Typer(rich_markup_mode=None)


@app.command(epilog="Example: digits serve --port 8080")
@in_project
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 allows other machines.")] = "127.0.0.1",
    port: Port = 3000,
) -> None:
    """Serve the champion with the latest Bento until Ctrl-C."""
    use_model_folder()
    from pipeline.deployment import serve
    from pipeline.registry import handover
    from serving.settings import read_settings

    try:
        read_settings()
    except ValueError as error:
        raise PipelineError(str(error)) from None
    handover.main()
    serve.main(host, port)


@app.command(epilog="Example: digits ask digit.png scans/ --json")
def ask(
    pictures: Annotated[list[str], typer.Argument(help="Files, folders, or - for standard input.")],
    url: Annotated[str, typer.Option(help="Address of the service.")] = "http://localhost:3000",
    key: Annotated[str, typer.Option(envvar="DIGITS_API_KEY", help="API key, if the service needs one.")] = "",
    model: Annotated[str, typer.Option(help="Name of the model.")] = "champion",
    as_json: AsJson = False,
) -> int:
    """Send pictures to a running service and print its predictions.

    The exit status is 1 if a picture gets no prediction."""
    from serving import client

    return client.main(pictures, url, key, model, as_json)


@app.command(epilog="Example: digits predict s3://scans/2026/ --output s3://answers/2026.parquet")
@in_project
def predict(
    pictures: Annotated[str, typer.Argument(help="A folder of pictures, s3://bucket/folder/, or a Parquet file.")],
    output: Annotated[str, typer.Option(help="The Parquet file to write; s3://bucket/name for a bucket.")] = (
        "predictions.parquet"
    ),
    model: Annotated[Path | None, typer.Option(help="A model.tflite to use instead of the champion.")] = None,
    column: Annotated[str | None, typer.Option(help="The Parquet column to read. Default: image, or pixels.")] = None,
    as_json: AsJson = False,
) -> None:
    """Predict a folder, a bucket or a Parquet file without a server.

    The output is a Parquet file with one row for each picture, in order. Its column error explains why a picture
    could not be read. Interrupted runs resume. All cores are used, or with RAY_ADDRESS a Ray cluster.
    """
    from pipeline.batch import predict

    predict.main(pictures, output, model, column, as_json)
