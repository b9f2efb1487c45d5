// The view of the demo network: input pixels, two hidden layers, the outputs, and the strongest connections.
import { areMany } from "./classes.js";
import { IMAGE_SIZE } from "./drawing.js";
import { forward, read, strongestConnections, topIndices } from "./inside.js";
import { TEXT } from "./texts.js";

const byId = (id) => document.getElementById(id);
const FILTER_COUNT = 8;
const TOP_CLASSES = 10; // outputs that are drawn if there are many
const COLUMNS = [IMAGE_SIZE, 8, 16]; // squares per row, for the input and the two hidden layers
const canvas = byId("network");

export class Network {
  constructor() {
    this.pixels = null;
    this.network = null;
    byId("inside").ontoggle = () => this.load();
    new ResizeObserver(() => this.paint()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
    this.setText(TEXT.insideNothing);
    byId("filters").replaceChildren(
      ...Array.from({ length: FILTER_COUNT }, () => {
        const filter = Object.assign(document.createElement("canvas"), { width: IMAGE_SIZE, height: IMAGE_SIZE });
        filter.setAttribute("role", "img");
        filter.setAttribute("aria-label", TEXT.insideNothing);
        return filter;
      }),
    );
  }

  setClasses(classes) {
    this.classes = classes;
    this.network = null; // its outputs are the classes
    this.load();
  }

  /** Fetch the weights when the section is opened for the first time. */
  async load() {
    if (!byId("inside").open || this.network) return this.paint();
    this.setText(TEXT.insideLoading);
    const response = await fetch("demo_network.bin").catch(() => null);
    if (!response?.ok) return this.setText(response ? TEXT.insideMissing : TEXT.gone);
    this.network = read(await response.arrayBuffer());
    this.paint();
  }

  setText(text) {
    byId("inside-say").textContent = text;
    canvas.setAttribute("aria-label", text);
  }

  /** Show the activations for 784 pixels in 0..255; null for no drawing. Paints at most once per frame. */
  show(pixels) {
    this.pixels = pixels;
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.paint();
    });
  }

  paint() {
    if (!byId("inside").open || !this.network || !canvas.clientWidth) return;
    const activations = forward(this.network, this.pixels ?? new Uint8Array(IMAGE_SIZE ** 2));
    const prediction = topIndices(activations[3], 1)[0];
    const ratio = Math.min(devicePixelRatio, 2);
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const style = getComputedStyle(byId("inside"));
    const colours = Object.fromEntries(["text", "muted", "track", "for", "against"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    draw(canvas.getContext("2d"), width, height, ratio, this.network, activations, this.classes, this.pixels ? prediction : null, colours);
    if (!this.pixels) return this.setText(TEXT.insideNothing);
    const active = [1, 2].map((depth) => activations[depth].filter((value) => value > 0).length);
    this.setText(TEXT.insideSay(this.classes[prediction], activations[3][prediction], active, this.network.widths, this.network.accuracy));
    const { outputs, weights } = this.network.layers[0];
    topIndices(activations[1], FILTER_COUNT).forEach((neuron, place) => {
      const filter = byId("filters").children[place];
      filter.setAttribute("aria-label", TEXT.insideFilter(neuron + 1));
      paintWeights(filter, Float32Array.from({ length: IMAGE_SIZE ** 2 }, (_, i) => weights[i * outputs + neuron]), colours);
    });
  }
}

function paintWeights(filter, weights, colours) {
  const context = filter.getContext("2d");
  const largest = Math.max(...weights.map(Math.abs));
  context.clearRect(0, 0, IMAGE_SIZE, IMAGE_SIZE);
  weights.forEach((weight, i) => {
    context.globalAlpha = Math.abs(weight) / largest;
    context.fillStyle = weight > 0 ? colours.for : colours.against;
    context.fillRect(i % IMAGE_SIZE, Math.floor(i / IMAGE_SIZE), 1, 1);
  });
  context.globalAlpha = 1;
}

/** Returns the classes whose outputs are drawn: all, or the most probable ones in their order. */
function shownClasses(classes, probabilities, drawn) {
  const all = [...classes.keys()];
  if (!areMany(classes)) return all;
  return drawn ? topIndices(probabilities, TOP_CLASSES).sort((a, b) => a - b) : all.slice(0, TOP_CLASSES);
}

/** Draw the four layers from left to right on a wide canvas, from top to bottom on a tall canvas. `prediction`: class, or null. */
function draw(context, width, height, ratio, network, activations, classes, prediction, colours) {
  const horizontal = width > height;
  const breadth = horizontal ? height : width; // extent perpendicular to the layer sequence
  const length = horizontal ? width : height; // extent along the layer sequence
  const shown = shownClasses(classes, activations[3], prediction !== null);
  const some = shown.length < classes.length;
  const sizes = [horizontal ? 0.72 : 0.55, 0.72, 0.72, horizontal && some ? 0.86 : 0.94].map((share) => share * breadth); // of each layer, along `breadth`
  const lengths = [sizes[0], (sizes[1] * 8) / 16, sizes[2], (horizontal ? 150 : some ? 68 : 52) * ratio]; // of each layer, along `length`
  const gap = (length - lengths.reduce((sum, value) => sum + value, 0)) / 3;
  const starts = lengths.map((_, i) => lengths.slice(0, i).reduce((sum, value) => sum + value + gap, 0));
  context.clearRect(0, 0, width, height);

  const boxes = [0, 1, 2].map((layer) => {
    const rows = Math.ceil(activations[layer].length / COLUMNS[layer]);
    const cells = horizontal ? [COLUMNS[layer], rows] : layer === 1 ? [rows, COLUMNS[layer]] : [COLUMNS[layer], rows];
    const cell = Math.floor(sizes[layer] / (horizontal ? cells[1] : cells[0])); // an integer, to avoid seams between cells
    const [along, side] = [Math.round(starts[layer]), Math.round((breadth - cell * (horizontal ? cells[1] : cells[0])) / 2)];
    return { cells, cell, x: horizontal ? along : side, y: horizontal ? side : along };
  });
  const centre = (layer, index) => {
    const { cells, cell, x, y } = boxes[layer];
    return [x + ((index % cells[0]) + 0.5) * cell, y + (Math.floor(index / cells[0]) + 0.5) * cell];
  };
  const slot = sizes[3] / shown.length;
  const output = (label) => {
    const side = (breadth - sizes[3]) / 2 + (shown.indexOf(label) + 0.5) * slot;
    return horizontal ? [starts[3], side] : [side, starts[3]];
  };

  if (prediction !== null) {
    const last = strongestConnections(network, activations, 2, 18, [...topIndices(activations[3], 2)]);
    const second = strongestConnections(network, activations, 1, 40, [...new Set(last.map(([from]) => from))]);
    const first = strongestConnections(network, activations, 0, 60, [...new Set(second.map(([from]) => from))]);
    drawConnections(first, (i) => centre(0, i), (i) => centre(1, i));
    drawConnections(second, (i) => centre(1, i), (i) => centre(2, i));
    drawConnections(last, (i) => centre(2, i), output);
  }

  function drawConnections(connections, from, to) {
    const largest = Math.abs(connections[0]?.[2] ?? 1);
    for (const [start, end, value] of connections) {
      const share = Math.abs(value) / largest;
      const [x, y] = from(start);
      const [toX, toY] = to(end);
      context.globalAlpha = 0.12 + 0.6 * share;
      context.strokeStyle = value > 0 ? colours.for : colours.against;
      context.lineWidth = (0.6 + 1.6 * share) * ratio;
      context.setLineDash(value > 0 ? [] : [4 * ratio, 3 * ratio]);
      context.beginPath();
      context.moveTo(x, y);
      if (horizontal) context.bezierCurveTo((x + toX) / 2, y, (x + toX) / 2, toY, toX, toY);
      else context.bezierCurveTo(x, (y + toY) / 2, toX, (y + toY) / 2, toX, toY);
      context.stroke();
    }
    context.setLineDash([]);
  }

  boxes.forEach(({ cells, cell, x, y }, layer) => {
    const largest = layer === 0 ? 1 : Math.max(...activations[layer], 1e-6);
    const inset = layer === 0 ? 0 : Math.max(Math.round(cell * 0.08), 1);
    activations[layer].forEach((value, i) => {
      const [left, above] = [x + (i % cells[0]) * cell + inset, y + Math.floor(i / cells[0]) * cell + inset];
      context.globalAlpha = 1;
      context.fillStyle = colours.track;
      context.fillRect(left, above, cell - 2 * inset, cell - 2 * inset);
      context.globalAlpha = prediction === null ? 0 : value / largest;
      context.fillStyle = colours.text;
      context.fillRect(left, above, cell - 2 * inset, cell - 2 * inset);
    });
  });

  const font = getComputedStyle(canvas).fontFamily;
  context.textBaseline = "middle";
  context.textAlign = horizontal ? "left" : "center";
  const long = shown.some((i) => classes[i].length > 2);
  shown.forEach((i) => {
    const name = classes[i];
    const [x, y] = output(i);
    const share = prediction === null ? 0 : activations[3][i];
    const room = horizontal ? (long ? 44 : 66) * ratio : slot * 0.6;
    const bar = horizontal ? [x + 5 * ratio, y - 5 * ratio, room, 10 * ratio] : [x - room / 2, y + 5 * ratio, room, 10 * ratio];
    context.globalAlpha = 1;
    context.fillStyle = colours.track;
    context.fillRect(...bar);
    context.fillStyle = colours.text;
    bar[2] *= share;
    context.fillRect(...bar);
    context.font = `${i === prediction ? 700 : 400} ${14 * ratio}px ${font}`;
    context.fillStyle = i === prediction ? colours.text : colours.muted;
    const short = name.length > 6 ? `${name.slice(0, 5)}…` : name;
    context.fillText(short, horizontal ? x + (long ? 56 : 82) * ratio : x, horizontal ? y : y + 30 * ratio);
    if (horizontal && prediction !== null) context.fillText(TEXT.share(share), x + (long ? 114 : 104) * ratio, y);
  });
  context.font = `400 ${13 * ratio}px ${font}`;
  context.fillStyle = colours.muted;
  context.textAlign = horizontal ? "center" : "right";
  if (some && horizontal) {
    context.textAlign = "left";
    context.fillText(TEXT.insideClasses(shown.length, classes.length), starts[3], (breadth + sizes[3]) / 2 + 18 * ratio);
    context.textAlign = "center";
  } else if (some) context.fillText(TEXT.insideClasses(shown.length, classes.length), (breadth + sizes[3]) / 2, starts[3] + 50 * ratio);
  TEXT.insideLayers(network.widths).forEach((text, layer) => {
    const { cells, cell, x, y } = boxes[layer];
    if (horizontal) context.fillText(text, x + (cells[0] * cell) / 2, y + cells[1] * cell + 18 * ratio);
    else context.fillText(text, x + cells[0] * cell, y + cells[1] * cell + 14 * ratio);
  });
  context.globalAlpha = 1;
}
