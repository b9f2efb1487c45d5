"""The training benchmark: a clock that is paused while the accuracy is measured, and a table of speed-ups."""

import json
import os

import pytest

from benchmarks import training
from benchmarks.training import KERAS, OURS, TORCH, Clock, Reached, ratios, reached, table
from recognition.native_output import hide_native_output


def points(*accuracies: float, pace: float = 1.0) -> list[dict[str, float]]:
    """One point every `pace` CPU-seconds, twice as many seconds of wall time."""
    return [
        {"epochs": n / 4, "cpu": n * pace, "wall": 2 * n * pace, "accuracy": accuracy}
        for n, accuracy in enumerate(accuracies, start=1)
    ]


def test_the_clock_measures_every_quarter_and_excludes_the_evaluation(capsys, monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(training.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(training.time, "process_time", lambda: 2 * now[0])

    def slow_check() -> float:
        now[0] += 100
        return 0.5

    clock = Clock(slow_check, steps=8)
    for step in range(8):
        now[0] += 1  # the duration of the step
        clock.step(epoch=3, step=step)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["epochs"] for line in lines] == [3.25, 3.5, 3.75, 4.0]
    assert [line["wall"] for line in lines] == [2, 4, 6, 8] and [line["cpu"] for line in lines] == [4, 8, 12, 16]
    assert all(line["accuracy"] == 0.5 for line in lines)


def test_the_first_point_at_or_above_the_goal_is_returned() -> None:
    assert reached(points(0.96, 0.98, 0.97, 0.98), 0.98) == points(0.96, 0.98)[1]
    assert reached(points(0.96), 0.98) is None


def test_the_table_shows_speed_ups_and_lower_bounds() -> None:
    results = {
        OURS: points(0.97, 0.99, 0.995, pace=2),
        KERAS: points(0.5, 0.97, 0.98, 0.99, pace=5),
        TORCH: points(0.97, 0.98, 0.98, pace=10),
    }
    rows = table(results).splitlines()
    assert (
        rows[0]
        == "| test accuracy | unit | default CNN | plain CNN, Keras | plain CNN, PyTorch | speed-up over others |"
    )
    assert "| 97.0% | CPU-s | 2.0 | 10.0 | 10.0 | 5.0, 5.0 |" in rows
    assert "| 99.0% | CPU-s | 4.0 | 20.0 | never | 5.0, > 7.5 |" in rows
    assert "| 99.0% | s | 8.0 | 40.0 | never | 5.0, > 7.5 |" in rows
    assert "| 99.5% | CPU-s | 6.0 | never | never | > 3.3, > 5.0 |" in rows
    assert ratios({OURS: None, KERAS: 3.0}, results, "cpu") == ["-"]
    assert ratios({OURS: 2.0, KERAS: 3.0}, results, "cpu") == ["1.5"]


def test_points_are_printed_while_native_output_is_hidden(capfd: pytest.CaptureFixture[str]) -> None:
    with os.fdopen(os.dup(1), "w") as points, hide_native_output():
        os.write(1, b"output of a library")
        Clock(lambda: 0.5, 4, points).step(0, 0)
    assert [json.loads(line)["accuracy"] for line in capfd.readouterr().out.splitlines()] == [0.5]


def test_training_stops_at_the_goal(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock(iter([0.98, 0.991]).__next__, 4, goal=0.99)
    clock.step(0, 0)
    with pytest.raises(Reached):
        clock.step(0, 1)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_training_stops_with_a_point_at_the_time_limit(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    used = iter([0.0, 4.0, 4.0, 7.0])
    monkeypatch.setattr(training.time, "process_time", used.__next__)
    clock = Clock(lambda: 0.5, 4, limit=6.0)
    clock.step(0, 0)
    with pytest.raises(Reached):
        clock.step(0, 1)
    assert [json.loads(line)["cpu"] for line in capsys.readouterr().out.splitlines()] == [4.0, 7.0]
