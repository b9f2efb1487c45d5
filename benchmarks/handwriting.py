"""How many of a folder's handwritten digits are read right, through a running service or in process.

    python benchmarks/handwriting.py --data DIR --url http://127.0.0.1:3000
    python benchmarks/handwriting.py --data DIR --model models/cnn/model.tflite

DIR holds digits.csv (file, label, source, paper) and, if there are any, numbers.csv (file, truth); files are named
relative to DIR. Sources whose name starts with w9 are the large collections.
"""

import argparse
import csv
import json
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

Reader = Callable[[bytes], str]


def in_process(model: Path) -> tuple[Reader, Reader]:
    """The same functions the service calls, without HTTP: readers of one digit and of a number."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    import numpy as np

    from recognition.classifier import Classifier
    from recognition.decoding import decode_image
    from recognition.preprocessing import to_digit
    from recognition.segmentation import find_digits

    classifier = Classifier(model)

    def digit(data: bytes) -> str:
        return str(classifier.probabilities(to_digit(decode_image(data)).pixels[None])[0].argmax())

    def number(data: bytes) -> str:
        lines = find_digits(decode_image(data), classifier.probabilities)
        stacks = [np.stack([found.pixels for _, found in line]) for line in lines]
        return "/".join("".join(map(str, classifier.probabilities(stack).argmax(1))) for stack in stacks)

    return digit, number


def through_service(url: str) -> tuple[Reader, Reader]:
    """Readers that ask a running service, one request per picture."""

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
    request = urllib.request.Request(  # noqa: S310 (the caller's own service)
        url,
        head.encode() + data + f"\r\n--{boundary}--\r\n".encode(),
        {"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)


def wilson(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """The 95% interval of a share (Wilson, 1927)."""
    share, spread = right / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z * (share * (1 - share) / count + spread / (4 * count)) ** 0.5 / (1 + spread)
    return middle - half, middle + half


def report(name: str, results: list[bool]) -> None:
    """One line: right of all, the share and its interval."""
    if results:
        low, high = wilson(sum(results), len(results))
        share = sum(results) / len(results)
        print(f"{name:24s} {sum(results):4d} of {len(results):4d}  {share:7.2%}  ({low:.2%} to {high:.2%})")


def measure(data: Path, rows: list[dict[str, str]], read: Reader, truth: str) -> tuple[list[bool], list[str]]:
    """Whether each row's file is read as row[truth], and a line for each that is not."""
    answers = [read((data / row["file"]).read_bytes()) for row in rows]
    right = [answer == row[truth] for answer, row in zip(answers, rows, strict=True)]
    wrong = [
        f"  {row['file']}: {row[truth]} read as {answer or 'nothing'}"
        for row, answer, good in zip(rows, answers, right, strict=True)
        if not good
    ]
    return right, wrong


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file; none if it is not there."""
    if not path.exists():
        return []
    with path.open(newline="") as table:
        return list(csv.DictReader(table))


def main() -> None:
    """Prints the accuracy per group and the files read wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with digits.csv")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--url", default="http://127.0.0.1:3000", help="of a running service")
    where.add_argument("--model", type=Path, help="a LiteRT file, to measure in process")
    arguments = parser.parse_args()
    digit, number = in_process(arguments.model) if arguments.model else through_service(arguments.url)

    rows = read_table(arguments.data / "digits.csv")
    right, wrong = measure(arguments.data, rows, digit, "label")
    groups = [("large" if row["source"].startswith("w9") else "small", row["paper"] == "1") for row in rows]
    for size in ("small", "large"):
        for paper in (False, True):
            name = f"{size} sources, {'paper' if paper else 'screen'}"
            report(name, [good for good, group in zip(right, groups, strict=True) if group == (size, paper)])
        report(f"{size} sources", [good for good, group in zip(right, groups, strict=True) if group[0] == size])
    numbers_right, numbers_wrong = measure(arguments.data, read_table(arguments.data / "numbers.csv"), number, "truth")
    report("whole numbers", numbers_right)
    print("\n".join(["read wrong:", *wrong, *numbers_wrong] if wrong or numbers_wrong else ["nothing read wrong"]))


if __name__ == "__main__":
    main()
