"""The texts in learn/ agree with the code: formulas, functions, measured results, figures, links."""

import csv
import doctest
import importlib
import inspect
import pkgutil
import re
from functools import reduce
from pathlib import Path

import pytest
import yaml

import learn.from_scratch
from tests.learn.worked_examples import MATHEMATICS, TEXT

ROOT = Path(__file__).resolve().parents[2]
COURSE = (ROOT / "learn" / "course.md").read_text(encoding="utf-8")
NO_FORMULAS = {"__main__", "training"}  # modules without numbered formulas

FORMULA = re.compile(r"^```\n\n\*\*Formula (\d+)\*\* · \[`learn/(from_scratch/\w+\.py): (\w+)`\]\(\2\)$", re.M)
FORMULA_NUMBER = re.compile(r"Formula (\d+): \S")


def formulas_in_text():
    return [(int(number), f"{Path(path).stem}.{name}") for number, path, name in FORMULA.findall(TEXT)]


def public_functions():
    """Map `module.function` to the function, for all modules with numbered formulas."""
    found = {}
    for module in pkgutil.iter_modules(learn.from_scratch.__path__):
        if module.name not in NO_FORMULAS:
            loaded = importlib.import_module(f"learn.from_scratch.{module.name}")
            for name, function in inspect.getmembers(loaded, inspect.isfunction):
                if function.__module__ == loaded.__name__ and not name.startswith("_"):
                    found[f"{module.name}.{name}"] = function
    return found


def test_every_formula_names_its_function_and_every_function_names_its_formula():
    named = {}
    for name, function in public_functions().items():
        match = FORMULA_NUMBER.match(function.__doc__ or "")
        assert match, f"{name}: the docstring does not start with 'Formula N: '"
        named[name] = int(match[1])
    assert {name: number for number, name in formulas_in_text()} == named


def test_formulas_are_numbered_in_order_without_gaps():
    numbers = [number for number, _ in formulas_in_text()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) == TEXT.count("**Formula"), "a line below a formula has the wrong format"


def test_references_to_formulas_exist():
    mentioned = {int(number) for number in re.findall(r"[Ff]ormula (\d+)", TEXT)}
    assert mentioned <= {number for number, _ in formulas_in_text()}


# Commands that GitHub does not render correctly.
UNSUPPORTED_ON_GITHUB = r"\\(operatorname|def|newcommand|mbox|phantom|tag|label|require|bm)\b"


def math_parts(text):
    return re.findall(r"```math\n(.*?)```", text, re.S) + re.findall(r"\$`(.*?)`\$", text)


def test_github_can_render_the_formulas():
    for part in math_parts(TEXT):
        assert not re.search(UNSUPPORTED_ON_GITHUB, part), part
        assert part.count("{") - part.count("\\{") == part.count("}") - part.count("\\}"), part
        assert not re.search(r"<\S|%", part), part
    prose = re.sub(r"```.*?```", "", TEXT, flags=re.S)
    inline = re.findall(r"(.?)\$`[^`\n]+`\$(.?)", prose)
    assert not [pair for pair in inline if pair[0].isalnum() or pair[1].isalnum()]
    assert "$" not in re.sub(r"\$`[^`\n]+`\$", "", prose), "inline formulas need $`...`$, display formulas a math block"
    for row in re.findall(r"^\|.*$", prose, re.M):
        assert not any("|" in part for part in math_parts(row)), row
    assert not re.search(r"\[[^\]]*\$`[^\]]*\]\(", prose), "no formulas inside links"


def test_figures_exist_for_both_themes_and_are_small_and_all_used():
    dark = re.findall(r'srcset="figures/([\w-]+)-dark\.svg"', TEXT + COURSE)
    light = re.findall(r'alt="[^"]+" src="figures/([\w-]+)-light\.svg"', TEXT + COURSE)
    assert dark == light
    files = {path.name: path for path in (ROOT / "learn" / "figures").iterdir()}
    assert {f"{name}-{theme}.svg" for name in light for theme in ("light", "dark")} == set(files)
    assert all(path.stat().st_size < 60_000 for path in files.values())


def test_python_session_gives_the_printed_output():
    session = doctest.DocTestParser().get_doctest(TEXT.replace("```", ""), {}, "mathematics", str(MATHEMATICS), 0)
    results = doctest.DocTestRunner(verbose=False).run(session)
    assert results.attempted == 3
    assert results.failed == 0


@pytest.mark.parametrize("name", ["README.md", "course.md", "mathematics.md"])
def test_local_links_and_images_exist(name):
    content = (ROOT / "learn" / name).read_text(encoding="utf-8")
    for targets in re.findall(r'\]\(([^)#]+)\)|(?:srcset|src)="([^"]+)"', content):
        target = "".join(targets)
        assert target.startswith("https://") or (ROOT / "learn" / target).exists(), target


def course_changes() -> list[dict[str, str]]:
    """The keys and values that each command `dvc exp run` of the course sets, with the variables of its loops."""
    code = "\n".join(re.findall(r"```bash\n(.*?)```", COURSE, re.S)).replace("\\\n", " ")
    code = code.replace("$model", "mlp").replace("$a.", "models.mlp.augmentation.")
    commands = [line for line in code.splitlines() if "dvc exp run" in line]
    return [dict(re.findall(r'-S "?([\w.+]+)=([^\s"]+)', line)) for line in commands]


def test_the_course_changes_keys_that_exist():
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    named = {key for changes in course_changes() for key in changes}
    named |= set(re.findall(r"`-S ([\w.+]+)=", COURSE))
    assert len(named) > 10
    for key in named:
        if not key.startswith("++"):  # adds the key
            assert reduce(lambda level, name: level.get(name, {}), key.split("."), params) != {}, key


def test_the_course_switches_off_every_augmentation():
    on = {"rotation", "shear", "scale", "shift", "elastic", "stroke", "degraded"}  # each of the others depends on one
    changed = [{key.rpartition(".")[2] for key in changes} & on for changes in course_changes()]
    assert [keys for keys in changed if keys] == [on, on]


def test_course_tables_match_the_measured_results():
    with (ROOT / "learn" / "experiments.csv").open(encoding="utf-8") as file:
        measured = list(csv.DictReader(file))
    tables = dict.fromkeys({row["experiment"] for row in measured}, "")
    headings = {"Width": "width", "Depth": "depth", "Learning rate": "rate", "Augmentation": "augmentation"}
    for heading, content in re.findall(r"^### (.*?)\n(.*?)(?=^##)", COURSE, re.M | re.S):
        if heading in headings:
            tables[headings[heading]] = content
    for row in measured:
        accuracy = f"{float(row['accuracy']):.2%}"
        if table := tables[row["experiment"].removesuffix("-16-epochs")]:
            assert re.search(rf"^\| {row['setting']} \|.*\b{accuracy} \|", table, re.M), row
    for name, title in (("mlp", "MLP"), ("cnn", "CNN"), ("augmented", "MLP, trained with augmentation")):
        accuracies = [f"{float(row['accuracy']):.2%}" for row in measured if row["experiment"] == f"shifted-{name}"]
        assert f"| {title} | {' | '.join(accuracies)} |" in COURSE
