"""Measures the accuracy on images of handwritten digits and numbers, with a running service or in process.

    python -m benchmarks.handwriting --data DIR --url http://127.0.0.1:3000
    python -m benchmarks.handwriting --data DIR --model cnn

DIR contains digits.csv (columns file, label, source, paper) and optionally numbers.csv (file, truth). File names are
relative to DIR. Sources whose name starts with w9 are the large collections.
"""

import argparse
import csv
import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.written_numbers import evaluated_model, read_numbers
from recognition.decoding import decode_image
from recognition.preprocessing import to_digit

Reader = Callable[[bytes], str]


def in_process(name: str) -> tuple[Reader, Reader]:
    """Readers of a digit and of a number that call the functions of the service, without HTTP."""
    model = evaluated_model(name)

    def digit(data: bytes) -> str:
        return str(model.classifier.probabilities(to_digit(decode_image(data)).pixels[None])[0].argmax())

    def number(data: bytes) -> str:
        return "/".join(read_numbers(decode_image(data), model))

    return digit, number


def through_service(url: str) -> tuple[Reader, Reader]:
    """Readers of a digit and of a number that send one request per image to a running service."""

    def ask(route: str, field: str) -> Reader:
        def read(data: bytes) -> str:
            try:
                return str(_post(f"{url.rstrip('/')}/{route}", data)[field])
            except urllib.error.HTTPError as error:
                return f"HTTP {error.code}"

        return read

    return ask("predict", "prediction"), ask("predict_number", "number")


def _post(url: str, data: bytes) -> Any:
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="image"\r\n\r\n'
    request = urllib.request.Request(  # noqa: S310 (the URL is an argument of the user)
        url,
        head.encode() + data + f"\r\n--{boundary}--\r\n".encode(),
        {"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
        return json.load(response)


def wilson(correct: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Score interval of a proportion (Wilson, 1927), 95% by default."""
    share, spread = correct / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z * (share * (1 - share) / count + spread / (4 * count)) ** 0.5 / (1 + spread)
    return middle - half, middle + half


def report(name: str, correct: list[bool]) -> None:
    """Prints one line: the number of correct predictions, the accuracy and its 95% interval."""
    if correct:
        low, high = wilson(sum(correct), len(correct))
        accuracy = sum(correct) / len(correct)
        print(f"{name:24s} {sum(correct):4d} of {len(correct):4d}  {accuracy:7.2%}  ({low:.2%} to {high:.2%})")


def measure(data: Path, rows: list[dict[str, str]], read: Reader, truth: str) -> tuple[list[bool], list[str]]:
    """Compares predictions with the column `truth`; returns whether each is correct, and a line for each error."""
    predictions = [read((data / row["file"]).read_bytes()) for row in rows]
    correct = [prediction == row[truth] for prediction, row in zip(predictions, rows, strict=True)]
    errors = [
        f"  {row['file']}: {row[truth]} predicted as {prediction or 'nothing'}"
        for row, prediction in zip(rows, predictions, strict=True)
        if prediction != row[truth]
    ]
    return correct, errors


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file; empty if the file does not exist."""
    if not path.exists():
        return []
    with path.open(newline="") as table:
        return list(csv.DictReader(table))


def main() -> None:
    """Prints the accuracy of each group and the errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with digits.csv")
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--url", default="http://127.0.0.1:3000", help="URL of a running service")
    target.add_argument("--model", help="entry of params.yaml, such as cnn, to measure in process instead")
    arguments = parser.parse_args()
    digit, number = in_process(arguments.model) if arguments.model else through_service(arguments.url)

    rows = read_table(arguments.data / "digits.csv")
    correct, errors = measure(arguments.data, rows, digit, "label")
    groups = [("large" if row["source"].startswith("w9") else "small", row["paper"] == "1") for row in rows]
    for size in ("small", "large"):
        for paper in (False, True):
            name = f"{size} sources, {'paper' if paper else 'screen'}"
            report(name, [hit for hit, group in zip(correct, groups, strict=True) if group == (size, paper)])
        report(f"{size} sources", [hit for hit, group in zip(correct, groups, strict=True) if group[0] == size])
    numbers_correct, number_errors = measure(
        arguments.data, read_table(arguments.data / "numbers.csv"), number, "truth"
    )
    report("whole numbers", numbers_correct)
    errors += number_errors
    print("\n".join(["errors:", *errors] if errors else ["no errors"]))


if __name__ == "__main__":
    main()
