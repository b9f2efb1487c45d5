"""Stage `fetch`: downloads the dataset from the first mirror that has it, or falls back to embedded digits."""

from pipeline.console import run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.data.fallback import allowed_fallback, write_embedded
from pipeline.data.mirrors import fetch_from_mirrors, unreachable
from pipeline.params import load_params
from pipeline.paths import RAW


def main() -> None:
    name = load_params().data.dataset
    dataset = load_dataset(name)
    RAW.mkdir(parents=True, exist_ok=True)
    if not dataset.files:
        write_embedded(name, fallback=False)
    elif not fetch_from_mirrors(name, dataset):
        fallback = allowed_fallback()
        if fallback is None:
            raise unreachable(name)
        say(
            f"!!! NO MIRROR OF {name.upper()} CAN BE REACHED: continuing with the small embedded dataset {fallback}, "
            "under its own name. Set DATA_MIRROR or connect, then run: make run"
        )
        write_embedded(fallback, fallback=True)


if __name__ == "__main__":
    run_main(main)
