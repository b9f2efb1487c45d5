"""learn/mathematics.md and the package say the same: formulas, functions, worked examples, figures."""

import csv
import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

import learn.from_scratch
from learn.from_scratch import costs
from learn.from_scratch.convolution import (
    convolve,
    convolve_direct,
    convolve_gradient,
    im2col,
    max_pool,
    max_pool_gradient,
    output_size,
)
from learn.from_scratch.layers import (
    collapse,
    dense,
    relu,
    relu_derivative,
    sigmoid,
    sigmoid_derivative,
    tanh,
    tanh_derivative,
)
from learn.from_scratch.losses import cross_entropy, cross_entropy_gradient, softmax, tempered_softmax
from learn.from_scratch.network import Layer, backward, forward
from learn.from_scratch.neurons import inner_product, perceptron, perceptron_update, signed_distance, weighted_sum
from learn.from_scratch.optimizers import adam_moments, adam_unbiased, adam_update, gradient_descent, momentum_velocity
from learn.from_scratch.regularisation import batch_normalise, dropout, glorot_uniform, he_normal, running_average

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "learn" / "mathematics.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
LEARN = (ROOT / "learn" / "course.md").read_text(encoding="utf-8")
APPLIED = {"__main__", "training"}  # modules that put the formulas to work and have none of their own

FORMULA = re.compile(r"^```\n\n\*\*Formula (\d+)\*\* · \[`learn/(from_scratch/\w+\.py): (\w+)`\]\(\2\)$", re.M)
NAMED = re.compile(r"Formula (\d+): \S")


def formulas_in_text():
    return [(int(number), f"{Path(path).stem}.{name}") for number, path, name in FORMULA.findall(TEXT)]


def public_functions():
    """`module.function` to function, of all modules that hold formulas."""
    found = {}
    for module in pkgutil.iter_modules(learn.from_scratch.__path__):
        if module.name not in APPLIED:
            loaded = importlib.import_module(f"learn.from_scratch.{module.name}")
            for name, function in inspect.getmembers(loaded, inspect.isfunction):
                if function.__module__ == loaded.__name__ and not name.startswith("_"):
                    found[f"{module.name}.{name}"] = function
    return found


def test_every_numbered_formula_names_its_function_and_every_function_its_formula():
    named = {}
    for name, function in public_functions().items():
        match = NAMED.match(function.__doc__ or "")
        assert match, f"{name}: its docstring does not begin with 'Formula N: '"
        named[name] = int(match[1])
    assert {name: number for number, name in formulas_in_text()} == named


def test_formulas_are_numbered_in_order_without_gaps():
    numbers = [number for number, _ in formulas_in_text()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) == TEXT.count("**Formula"), "a formula's line does not have the agreed form"


def test_formulas_mentioned_in_passing_exist():
    mentioned = {int(number) for number in re.findall(r"[Ff]ormula (\d+)", TEXT)}
    assert mentioned <= {number for number, _ in formulas_in_text()}


# What GitHub does not render, or renders as something else.
FORBIDDEN = r"\\(operatorname|def|newcommand|mbox|phantom|tag|label|require|bm)\b"


def math_parts(text):
    return re.findall(r"```math\n(.*?)```", text, re.S) + re.findall(r"\$`(.*?)`\$", text)


def test_mathematics_is_written_so_that_github_renders_it():
    for part in math_parts(TEXT):
        assert not re.search(FORBIDDEN, part), part
        assert part.count("{") - part.count("\\{") == part.count("}") - part.count("\\}"), part
        assert not re.search(r"<\S|%", part), part
    prose = re.sub(r"```.*?```", "", TEXT, flags=re.S)
    inline = re.findall(r"(.?)\$`[^`\n]+`\$(.?)", prose)
    assert not [pair for pair in inline if pair[0].isalnum() or pair[1].isalnum()]
    assert "$" not in re.sub(r"\$`[^`\n]+`\$", "", prose), "inline mathematics is $`...`$, display is a math block"
    for row in re.findall(r"^\|.*$", prose, re.M):
        assert not any("|" in part for part in math_parts(row)), row
    assert not re.search(r"\[[^\]]*\$`[^\]]*\]\(", prose), "no mathematics inside a link"


def test_figures_exist_in_light_and_dark_small_and_none_is_left_over():
    dark = re.findall(r'srcset="figures/([\w-]+)-dark\.svg"', TEXT + LEARN)
    light = re.findall(r'alt="[^"]+" src="figures/([\w-]+)-light\.svg"', TEXT + LEARN)
    assert dark == light
    files = {path.name: path for path in (ROOT / "learn" / "figures").iterdir()}
    assert {f"{name}-{theme}.svg" for name in light for theme in ("light", "dark")} == set(files)
    assert all(path.stat().st_size < 60_000 for path in files.values())


def test_the_python_session_is_true():
    session = doctest.DocTestParser().get_doctest(TEXT.replace("```", ""), {}, "mathematics", str(DOCUMENT), 0)
    results = doctest.DocTestRunner(verbose=False).run(session)
    assert results.attempted == 3
    assert results.failed == 0


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        if not target.startswith("https://"):
            assert (DOCUMENT.parent / target).exists(), target


def example(section):
    """The text under "In numbers" of a section."""
    chapter = re.search(rf"^## {section}\. .*?(?=^## )", TEXT, re.M | re.S)[0]
    return chapter.split("### In numbers\n")[1]


def row(values, form="{:g}"):
    return " & ".join(form.format(value + 0.0) for value in np.atleast_1d(values))


def matrix(values, form="{:g}"):
    lines = r" \\ ".join(row(line, form) for line in np.atleast_2d(values))
    return rf"\begin{{pmatrix}} {lines} \end{{pmatrix}}"


def points(values, form="{:g}"):
    return f"({', '.join(form.format(value + 0.0) for value in values)})"


def states(section, *snippets):
    text = example(section)
    for snippet in snippets:
        assert snippet in text, f"section {section} does not say: {snippet}"


def test_numbers_of_the_inner_product():
    x, w = np.array([1.0, 2, 3]), np.array([4.0, -1, 2])
    cosine = inner_product(x, w) / np.sqrt(inner_product(x, x) * inner_product(w, w))
    states(1, f"3 \\cdot 2 = {inner_product(x, w):g}", f"= {cosine:.3f}", f"{np.degrees(np.arccos(cosine)):.1f}^")
    states(1, f"\\sqrt{{{inner_product(x, x):g}}}", f"\\sqrt{{{inner_product(w, w):g}}}")


def test_numbers_of_the_neuron():
    z = weighted_sum(np.array([0.5, 1, 0]), np.array([2.0, -1, 3]), 0.5)
    states(2, f"+ 0 \\cdot 3 + 0.5 = {z:g}")


def test_numbers_of_the_perceptron():
    examples = [((0, 0), 0), ((0, 1), 1), ((1, 0), 1), ((1, 1), 1)]
    w, b, rows = np.zeros(2), 0.0, []
    for x, target in examples * 4:
        answer = perceptron(np.array(x, float), w, b)
        if answer != target:
            w, b = perceptron_update(np.array(x, float), target, w, b)
            rows.append(f"| ({x[0]},{x[1]}) | {answer} | {target} | {points(w)} | {b:g} |")
    table = "\n".join(rows)
    states(3, f"|---|---|---|---|---|\n{table}\n\n")
    assert all(perceptron(np.array(x, float), w, b) == target for x, target in examples)
    states(3, f"\\sqrt{{2}} = {signed_distance(np.array([1.0, 0]), w, b):.3f}")


def test_numbers_of_the_layer():
    x, weights = np.array([[1.0, 0, 2], [0, 1, 1]]), np.array([[1.0, 0], [2, -1], [0, 3]])
    states(4, matrix(x), matrix(weights), matrix(dense(x, weights, np.array([0.0, 1]))))


def test_numbers_of_xor():
    x = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    first, second = (np.ones((2, 2)), np.array([0.0, -1])), (np.array([[1.0], [-2]]), np.zeros(1))
    h = relu(dense(x, *first))
    for inputs, hidden, z in zip(x, h, dense(h, *second)[:, 0], strict=True):
        xor = inputs[0] != inputs[1]
        a, b = points(inputs).replace(" ", ""), points(hidden).replace(" ", "")
        states(5, f"| {a} | {b} | {z:g} | {xor:d} |")
    flat = dense(x, *collapse(first, second))[:, 0]
    assert collapse(first, second)[0].tolist() == [[-1], [-1]]
    assert collapse(first, second)[1].tolist() == [2]
    states(5, "-x_1 - x_2 + 2", f"answers {', '.join(f'{z:g}' for z in flat)}.")


def test_numbers_of_the_activations():
    z = np.array([0.5])
    s, t = sigmoid(z)[0], tanh(z)[0]
    states(6, f"\\sigma = {s:.4f}", f"{s:.4f} \\cdot {1 - s:.4f} = {sigmoid_derivative(z)[0]:.4f}")
    states(6, f"\\tanh = {t:.4f}", f"1 - {t:.4f}^2 = {tanh_derivative(z)[0]:.4f}")
    states(6, f"\\mathrm{{relu}} = {relu(z)[0]:g}", f"\\mathrm{{relu}}' = {relu_derivative(z)[0]:g}")
    steepest = sigmoid_derivative(np.zeros(1))[0]
    states(6, f"where it is {steepest:g}", f"{steepest:g}^{{10}} = {steepest**10 * 1e7:.1f} \\cdot 10^{{-7}}")


def test_numbers_of_softmax_and_cross_entropy():
    logits = np.array([[2.0, 1, 0]])
    states(7, f"p = {points(softmax(logits)[0], '{:.3f}')}")
    for label in (0, 2):
        right = np.array([label])
        gradient = points(cross_entropy_gradient(logits, right)[0], "{:.3f}")
        states(7, f"L = {cross_entropy(logits, right):.3f}", gradient)


NETWORK = [
    Layer(np.array([[0.5, -1, 1], [0.25, 1, -1]]), np.array([0, 0.5, 0])),
    Layer(np.array([[1.0, -1], [0, 1], [2, 0]]), np.zeros(2)),
]
X, LABEL = np.array([[1.0, 2]]), np.array([1])


def test_numbers_of_the_forward_pass():
    (z_1, z_2), (a_0, a_1) = forward(NETWORK, X)
    for array in (a_0, *NETWORK[0], *NETWORK[1], z_1, a_1, z_2):
        states(8, matrix(array))
    p = softmax(z_2)
    states(8, matrix(p, "{:.3f}"), f"-\\log {p[0, 1]:.3f} = {cross_entropy(z_2, LABEL):.3f}")


def test_numbers_of_back_propagation():
    def shown(array):
        return matrix(np.round(array, 3), "{:.3f}").replace(" 0.000", " 0").replace("-0 ", "0 ")

    (z_1, z_2), _ = forward(NETWORK, X)
    delta_2 = cross_entropy_gradient(z_2, LABEL)
    d_input = delta_2 @ NETWORK[1].weights.T
    first, second = backward(NETWORK, X, LABEL)
    states(9, shown(delta_2), shown(second.weights), shown(d_input), shown(d_input * relu_derivative(z_1)))
    states(9, shown(first.weights))
    losses = []
    for change in (0.01, -0.01):
        weights = NETWORK[0].weights + np.array([[change, 0, 0], [0, 0, 0]])
        z = forward([NETWORK[0]._replace(weights=weights), NETWORK[1]], X)[0][-1]
        losses.append(cross_entropy(z, LABEL))
    difference = (losses[0] - losses[1]) / 0.02
    states(9, f"the loss is {losses[0]:.5f} and {losses[1]:.5f}", f"divided by 0.02 is {difference:.3f}")


def test_numbers_of_the_optimizers():
    plain, coasting, adam = (np.ones(1) for _ in range(3))
    velocity = mean = square = np.zeros(1)
    for step in (1, 2, 3):
        plain = gradient_descent(plain, 2 * plain, 0.1)
        velocity = momentum_velocity(velocity, 2 * coasting, 0.9)
        coasting = gradient_descent(coasting, velocity, 0.1)
        mean, square = adam_moments(mean, square, 2 * adam)
        unbiased = adam_unbiased(mean, square, step)
        adam = adam_update(adam, *unbiased, 0.1)
        states(10, f"| {step} | {plain[0]:.4f} | {coasting[0]:.4f} | {adam[0]:.4f} |")
        if step == 1:
            states(10, f"\\hat m = {unbiased[0][0]:.0f}`", f"\\sqrt{{\\hat v}} = {unbiased[1][0] ** 0.5:.0f}`")


def test_numbers_of_initialisation():
    rng = np.random.default_rng(0)
    states(
        11,
        "\\sqrt{6/1040} = 0.0760",
        "\\sqrt{2/784} = 0.0505",
        f"2^{{-20}} = {2**-20 * 1e7:.1f} \\cdot 10^{{-7}}",
    )
    assert np.abs(glorot_uniform(784, 256, rng)).max() == pytest.approx(0.0760, abs=5e-5)
    assert he_normal(784, 256, rng).std() == pytest.approx(0.0505, rel=0.005)


def test_numbers_of_dropout_and_batch_normalisation():
    kept = dropout(np.array([1.0, 2, 3, 4]), 0.5, np.array([0.7, 0.2, 0.9, 0.4]))
    states(12, f"makes $`{points(kept)}`$", f"the sum is {kept.sum():g} instead of 10")
    x = np.array([[1.0], [2], [3], [6]])
    standard = batch_normalise(x, np.ones(1), np.zeros(1), 0.001)[:, 0]
    states(12, f"\\hat x = {points(standard, '{:.3f}').replace('0.000', '0')}")
    states(12, f"\\mu = {x.mean():g}`", f"\\sigma^2 = {x.var():g}`")
    states(12, f"becomes {running_average(np.zeros(1), x.mean(axis=0), 0.9)[0]:g}.")


def test_numbers_of_temperature():
    logits = np.array([[2.0, 1, 0, -1]])
    first = {temperature: tempered_softmax(logits, temperature)[0, 0] for temperature in (1, 0.5, 3)}
    states(13, *(f"{p:.3f} at $`T = {temperature:g}`$" for temperature, p in first.items()))


IMAGE = np.array([[1.0, 2, 0], [0, 1, 3], [2, 0, 1]])[None, :, :, None]
KERNEL = np.array([[1.0, 0], [0, -1]])[:, :, None, None]


def test_numbers_of_the_convolution():
    assert output_size(28, 5, stride=2, padding=2) == 14
    assert (28 + 3 - 5) // 2 + 1 == 14
    states(14, "\\rfloor + 1 = 14`", matrix(IMAGE[0, :, :, 0]), matrix(KERNEL[:, :, 0, 0]))
    states(14, matrix(convolve_direct(IMAGE, KERNEL, np.zeros(1))[0, :, :, 0]), matrix(im2col(IMAGE, 2, 2)))


def test_numbers_of_the_way_back_through_a_convolution():
    d_kernel, _, d_image = convolve_gradient(IMAGE, np.ones((1, 2, 2, 1)), KERNEL)
    states(15, matrix(d_kernel[:, :, 0, 0]), matrix(d_image[0, :, :, 0]))
    assert d_image[0, 1, 1, 0] == KERNEL.sum() == 0
    block = np.array([[1.0, 3], [2, 0]])[None, :, :, None]
    states(15, f"makes {max_pool(block)[0, 0, 0, 0]:g} of the block $`{matrix(block[0, :, :, 0])}`$")
    back = max_pool_gradient(block, np.full((1, 1, 1, 1), 5.0))
    states(15, f"back as $`{matrix(back[0, :, :, 0])}`$")


def test_a_shifted_image_gives_a_shifted_result():
    rng = np.random.default_rng(3)
    image, kernels, bias = rng.normal(size=(1, 8, 8, 1)), rng.normal(size=(3, 3, 1, 2)), rng.normal(size=2)
    shifted = np.roll(image, 1, axis=2)
    ours = convolve(shifted, kernels, bias)[:, :, 1:]
    np.testing.assert_allclose(ours, convolve(image, kernels, bias)[:, :, :-1], rtol=1e-12)


def test_numbers_of_the_price_list():
    mlp = [costs.dense_cost(784, 512), costs.dense_cost(512, 512), costs.dense_cost(512, 10)]
    first, second = output_size(28 + 3, 5, stride=2), output_size(7, 3)
    cnn = [
        costs.convolution_cost(5, 1, 32, first),
        costs.convolution_cost(3, 32, 64, first),
        costs.Cost(0, 0),
        costs.convolution_cost(3, 64, 128, second),
        costs.dense_cost(second * second * 128, 10),
    ]
    rows = re.findall(r"^\| (?!\*|MLP|CNN).* \| ([\d,]+) \| ([\d,]+) \|$", example(16), re.M)
    assert [tuple(int(n.replace(",", "")) for n in pair) for pair in rows] == [*mlp, *cnn]
    totals = [[sum(column) for column in zip(*layers, strict=True)] for layers in (mlp, cnn)]
    for parameters, multiplications in totals:
        states(16, f"| **{parameters:,}** | **{multiplications:,}** |")
    states(16, f"{totals[0][0] / totals[1][0]:.1f} times fewer", f"{totals[1][1] / totals[0][1]:.1f} times more")
    replaced = costs.dense_cost(784, first * first * 32)
    states(16, f"{first * first * 32:,} outputs, would have {replaced.parameters:,} parameters")


def test_the_learners_tables_are_what_was_measured():
    with (ROOT / "learn" / "experiments.csv").open(encoding="utf-8") as file:
        measured = list(csv.DictReader(file))
    tables = dict.fromkeys({row["experiment"] for row in measured}, "")
    headings = {"Width": "width", "Depth": "depth", "Learning rate": "rate", "Augmentation": "augmentation"}
    for heading, content in re.findall(r"^### (.*?)\n(.*?)(?=^##)", LEARN, re.M | re.S):
        if heading in headings:
            tables[headings[heading]] = content
    for row in measured:
        share = f"{float(row['accuracy']):.2%}"
        if table := tables[row["experiment"].removesuffix("-16-epochs")]:
            assert re.search(rf"^\| {row['setting']} \|.*\b{share} \|", table, re.M), row
    for name, title in (("mlp", "MLP"), ("cnn", "CNN"), ("augmented", "MLP, trained with augmentation")):
        shares = [f"{float(row['accuracy']):.2%}" for row in measured if row["experiment"] == f"shifted-{name}"]
        assert f"| {title} | {' | '.join(shares)} |" in LEARN


def test_the_learners_links_and_plots_exist():
    for target in re.findall(r'\]\(([^)#]+)\)|(?:srcset|src)="([^"]+)"', LEARN):
        assert (DOCUMENT.parent / (target[0] or target[1])).exists(), target
