// Explanations: for each model a map of the pixels that support or contradict a class, over the digit.
import { modelColour } from "./answers.js";
import { fillClassButtons } from "./classes.js";
import { IMAGE_SIZE } from "./drawing.js";
import { fetchJson } from "./service.js";
import { TEXT } from "./texts.js";

const byId = (id) => document.getElementById(id);
const CELL = 12; // canvas pixels per pixel of the model input
const MIN_WEIGHT = 0.14; // relative to the strongest evidence; weaker evidence is not drawn
const MIN_SCALE = 1; // log-odds of a full disc are at least this, so that noise is not drawn as evidence

export class Explanation {
  /** `getImage`: returns the image to explain, or null. `onError`: receives errors of service.js. */
  constructor(getImage, onError) {
    Object.assign(this, { getImage, onError });
    byId("why").ontoggle = () => this.explain();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.explanation && this.paint());
  }

  /** Set the models to explain. `model`: the body of GET /model. */
  setModel(model) {
    this.classes = model.classes;
    this.maps = {};
    byId("maps").replaceChildren();
    Object.keys(model.models).forEach((name, index) => {
      const figure = document.createElement("figure");
      figure.style.setProperty("--colour", modelColour(index));
      const canvas = Object.assign(document.createElement("canvas"), { width: IMAGE_SIZE * CELL, height: IMAGE_SIZE * CELL });
      canvas.setAttribute("role", "img");
      const caption = Object.assign(document.createElement("figcaption"), { textContent: name });
      figure.append(canvas, caption);
      byId("maps").append(figure);
      this.maps[name] = canvas;
    });
    fillClassButtons(byId("why-classes"), this.classes, (label) => {
      this.chosenLabel = label;
      this.explain();
    });
    this.clear();
  }

  clear() {
    this.request?.abort();
    this.chosenLabel = this.explanation = null;
    byId("why-say").textContent = TEXT.whyNothing;
    this.markClass(null);
    for (const [name, canvas] of Object.entries(this.maps)) {
      canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
      canvas.setAttribute("aria-label", `${name}: ${TEXT.whyNothing}`);
    }
  }

  /** Explain a new prediction, for the class that the champion predicts. */
  update(pixels) {
    this.pixels = pixels;
    this.chosenLabel = null;
    this.explain();
  }

  async explain() {
    const image = this.getImage();
    if (!byId("why").open || !image || !this.pixels) return;
    this.request?.abort();
    this.request = new AbortController();
    const path = this.chosenLabel === null ? "explain" : `explain?label=${this.chosenLabel}`;
    try {
      const response = await fetchJson(path, { body: image, type: image.type, signal: this.request.signal });
      this.explanation = response.content;
      this.paint();
    } catch (error) {
      if (error.name !== "AbortError") this.onError(error);
    }
  }

  markClass(label) {
    [...byId("why-classes").children].forEach((button, i) => button.setAttribute("aria-pressed", i === label));
  }

  paint() {
    const { label, maps } = this.explanation;
    const name = this.classes[label];
    const style = getComputedStyle(byId("why"));
    const colours = { ink: style.color, for: style.getPropertyValue("--for"), against: style.getPropertyValue("--against") };
    this.markClass(label);
    byId("why-say").textContent = TEXT.whySay(name);
    for (const [model, map] of Object.entries(maps)) {
      const canvas = this.maps[model];
      if (!canvas) continue;
      canvas.setAttribute("aria-label", TEXT.whyMap(model, name));
      overlay(canvas.getContext("2d"), this.pixels, map.flat(), colours);
    }
  }
}

/** Draw the digit in grey, with discs on supporting pixels and rings on contradicting pixels. The area shows the strength. */
function overlay(context, pixels, evidence, colours) {
  const scale = Math.max(MIN_SCALE, ...evidence.map(Math.abs));
  context.clearRect(0, 0, IMAGE_SIZE * CELL, IMAGE_SIZE * CELL);
  evidence.forEach((value, i) => {
    const [x, y] = [(i % IMAGE_SIZE) * CELL, Math.floor(i / IMAGE_SIZE) * CELL];
    context.globalAlpha = (0.34 * pixels[i]) / 255;
    context.fillStyle = colours.ink;
    context.fillRect(x, y, CELL, CELL);
    const weight = Math.abs(value) / scale;
    if (weight < MIN_WEIGHT) return;
    context.globalAlpha = 0.35 + 0.65 * weight;
    const radius = (CELL / 2) * Math.sqrt(weight);
    context.beginPath();
    if (value > 0) {
      context.arc(x + CELL / 2, y + CELL / 2, radius, 0, 7);
      context.fillStyle = colours.for;
      context.fill();
    } else {
      const lineWidth = Math.min(2.5, radius);
      context.arc(x + CELL / 2, y + CELL / 2, radius - lineWidth / 2, 0, 7);
      context.strokeStyle = colours.against;
      context.lineWidth = lineWidth;
      context.stroke();
    }
  });
  context.globalAlpha = 1;
}
