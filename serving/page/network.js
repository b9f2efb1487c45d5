// "Inside an MLP" as a picture: pixels, two layers of neurons, ten outputs, and the connections that carry most.
import { forward, read, strongest, top } from "./inside.js";
import { TEXT } from "./texts.js";

const at = (id) => document.getElementById(id);
const FILTERS = 8;
const GRIDS = [28, 8, 16]; // squares beside each other in each layer
const canvas = at("network");

export class Network {
  constructor(classes) {
    this.classes = classes;
    this.pixels = null;
    this.network = null;
    at("inside").ontoggle = () => this.open();
    new ResizeObserver(() => this.paint()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
    this.say(TEXT.insideNothing);
    at("filters").replaceChildren(
      ...Array.from({ length: FILTERS }, () => {
        const filter = Object.assign(document.createElement("canvas"), { width: 28, height: 28 });
        filter.setAttribute("role", "img");
        filter.setAttribute("aria-label", TEXT.insideNothing);
        return filter;
      }),
    );
  }

  /** Fetch the weights when they are wanted for the first time. */
  async open() {
    if (!at("inside").open || this.network) return this.paint();
    this.say(TEXT.insideLoading);
    const response = await fetch("demo_network.bin").catch(() => null);
    if (!response?.ok) return this.say(response ? TEXT.insideMissing : TEXT.gone);
    this.network = read(await response.arrayBuffer());
    this.paint();
  }

  say(text) {
    at("inside-say").textContent = text;
    canvas.setAttribute("aria-label", text);
  }

  /** Show what these 784 pixels of 0..255 do; null for none. At most once a frame. */
  show(pixels) {
    this.pixels = pixels;
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.paint();
    });
  }

  paint() {
    if (!at("inside").open || !this.network || !canvas.clientWidth) return;
    const activations = forward(this.network, this.pixels ?? new Uint8Array(784));
    const best = top(activations[3], 1)[0];
    const ratio = Math.min(devicePixelRatio, 2);
    const [wide, high] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
    const style = getComputedStyle(at("inside"));
    const colours = Object.fromEntries(["text", "muted", "track", "for", "against"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    draw(canvas.getContext("2d"), wide, high, ratio, this.network, activations, this.classes, this.pixels ? best : null, colours);
    if (!this.pixels) return this.say(TEXT.insideNothing);
    const awake = [1, 2].map((depth) => activations[depth].filter((value) => value > 0).length);
    this.say(TEXT.insideSay(this.classes[best], activations[3][best], awake, this.network.widths, this.network.accuracy));
    const { outputs, weights } = this.network.layers[0];
    top(activations[1], FILTERS).forEach((neuron, place) => {
      const filter = at("filters").children[place];
      filter.setAttribute("aria-label", TEXT.insideFilter(neuron + 1));
      paintWeights(filter, Float32Array.from({ length: 784 }, (_, i) => weights[i * outputs + neuron]), colours);
    });
  }
}

function paintWeights(filter, weights, colours) {
  const pen = filter.getContext("2d");
  const most = Math.max(...weights.map(Math.abs));
  pen.clearRect(0, 0, 28, 28);
  weights.forEach((weight, i) => {
    pen.globalAlpha = Math.abs(weight) / most;
    pen.fillStyle = weight > 0 ? colours.for : colours.against;
    pen.fillRect(i % 28, Math.floor(i / 28), 1, 1);
  });
  pen.globalAlpha = 1;
}

/** Lay the four layers out from left to right, or from top to bottom where there is more room, and draw them. */
function draw(pen, wide, high, ratio, network, activations, classes, best, colours) {
  const across = wide > high;
  const thick = across ? high : wide; // room across the flow
  const flow = across ? wide : high;
  const sizes = [across ? 0.72 : 0.55, 0.72, 0.72, 0.94].map((share) => share * thick); // extent of each layer across the flow
  const depths = [sizes[0], (sizes[1] * 8) / 16, sizes[2], across ? 150 * ratio : 52 * ratio]; // and along it
  const gap = (flow - depths.reduce((sum, depth) => sum + depth, 0)) / 3;
  const starts = depths.map((_, i) => depths.slice(0, i).reduce((sum, depth) => sum + depth + gap, 0));
  pen.clearRect(0, 0, wide, high);

  const boxes = [0, 1, 2].map((layer) => {
    const rows = Math.ceil(activations[layer].length / GRIDS[layer]);
    const cells = across ? [GRIDS[layer], rows] : layer === 1 ? [rows, GRIDS[layer]] : [GRIDS[layer], rows];
    const cell = Math.floor(sizes[layer] / (across ? cells[1] : cells[0])); // whole, or seams would show
    const [along, side] = [Math.round(starts[layer]), Math.round((thick - cell * (across ? cells[1] : cells[0])) / 2)];
    return { cells, cell, x: across ? along : side, y: across ? side : along };
  });
  const centre = (layer, index) => {
    const { cells, cell, x, y } = boxes[layer];
    return [x + ((index % cells[0]) + 0.5) * cell, y + (Math.floor(index / cells[0]) + 0.5) * cell];
  };
  const slot = sizes[3] / classes.length;
  const output = (index) => {
    const side = (thick - sizes[3]) / 2 + (index + 0.5) * slot;
    return across ? [starts[3], side] : [side, starts[3]];
  };

  if (best !== null) {
    const last = strongest(network, activations, 2, 18, [...top(activations[3], 2)]);
    const second = strongest(network, activations, 1, 40, [...new Set(last.map(([from]) => from))]);
    const first = strongest(network, activations, 0, 60, [...new Set(second.map(([from]) => from))]);
    link(first, (i) => centre(0, i), (i) => centre(1, i));
    link(second, (i) => centre(1, i), (i) => centre(2, i));
    link(last, (i) => centre(2, i), output);
  }

  function link(connections, from, to) {
    const most = Math.abs(connections[0]?.[2] ?? 1);
    for (const [start, end, value] of connections) {
      const share = Math.abs(value) / most;
      const [x, y] = from(start);
      const [toX, toY] = to(end);
      pen.globalAlpha = 0.12 + 0.6 * share;
      pen.strokeStyle = value > 0 ? colours.for : colours.against;
      pen.lineWidth = (0.6 + 1.6 * share) * ratio;
      pen.setLineDash(value > 0 ? [] : [4 * ratio, 3 * ratio]);
      pen.beginPath();
      pen.moveTo(x, y);
      if (across) pen.bezierCurveTo((x + toX) / 2, y, (x + toX) / 2, toY, toX, toY);
      else pen.bezierCurveTo(x, (y + toY) / 2, toX, (y + toY) / 2, toX, toY);
      pen.stroke();
    }
    pen.setLineDash([]);
  }

  boxes.forEach(({ cells, cell, x, y }, layer) => {
    const most = layer === 0 ? 1 : Math.max(...activations[layer], 1e-6);
    const inset = layer === 0 ? 0 : Math.max(Math.round(cell * 0.08), 1);
    activations[layer].forEach((value, i) => {
      const [left, above] = [x + (i % cells[0]) * cell + inset, y + Math.floor(i / cells[0]) * cell + inset];
      pen.globalAlpha = 1;
      pen.fillStyle = colours.track;
      pen.fillRect(left, above, cell - 2 * inset, cell - 2 * inset);
      pen.globalAlpha = best === null ? 0 : value / most;
      pen.fillStyle = colours.text;
      pen.fillRect(left, above, cell - 2 * inset, cell - 2 * inset);
    });
  });

  const font = getComputedStyle(canvas).fontFamily;
  pen.textBaseline = "middle";
  pen.textAlign = across ? "left" : "center";
  classes.forEach((name, i) => {
    const [x, y] = output(i);
    const share = best === null ? 0 : activations[3][i];
    const room = across ? 66 * ratio : slot * 0.6;
    const bar = across ? [x + 5 * ratio, y - 5 * ratio, room, 10 * ratio] : [x - room / 2, y + 5 * ratio, room, 10 * ratio];
    pen.globalAlpha = 1;
    pen.fillStyle = colours.track;
    pen.fillRect(...bar);
    pen.fillStyle = colours.text;
    bar[2] *= share;
    pen.fillRect(...bar);
    pen.font = `${i === best ? 700 : 400} ${14 * ratio}px ${font}`;
    pen.fillStyle = i === best ? colours.text : colours.muted;
    const short = name.length > 6 ? `${name.slice(0, 5)}…` : name;
    pen.fillText(short, across ? x + 82 * ratio : x, across ? y : y + 30 * ratio);
    if (across && best !== null) pen.fillText(TEXT.share(share), x + 104 * ratio, y);
  });
  pen.font = `400 ${13 * ratio}px ${font}`;
  pen.fillStyle = colours.muted;
  pen.textAlign = across ? "center" : "right";
  TEXT.insideLayers(network.widths).forEach((words, layer) => {
    const { cells, cell, x, y } = boxes[layer];
    if (across) pen.fillText(words, x + (cells[0] * cell) / 2, y + cells[1] * cell + 18 * ratio);
    else pen.fillText(words, x + cells[0] * cell, y + cells[1] * cell + 14 * ratio);
  });
  pen.globalAlpha = 1;
}
