"""Stage `fetch`: download the dataset from its first reachable mirror, or write the embedded fallback."""

from pipeline.console import run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.data.fallback import fallback_for, write_embedded
from pipeline.data.mirrors import fetch_from_mirrors
from pipeline.params import load_params
from pipeline.paths import RAW


def main() -> None:
    name = load_params().data.dataset
    dataset = load_dataset(name)
    RAW.mkdir(parents=True, exist_ok=True)
    if not dataset.files:
        write_embedded(name, fallback=False)
    elif not fetch_from_mirrors(name, dataset):
        fallback = fallback_for(name)
        say(f"!!! NO MIRROR OF {name.upper()} CAN BE REACHED: using the small embedded dataset {fallback} instead")
        say("!!! To fetch it, connect to the network or set DATA_MIRROR, then run: make run")
        write_embedded(fallback, fallback=True)


if __name__ == "__main__":
    run_main(main)
