// "Why": for each model the pixels that speak for a class and against it, laid over the digit.
import { colour } from "./answers.js";
import { ask } from "./service.js";
import { TEXT } from "./texts.js";

const at = (id) => document.getElementById(id);
const CELL = 12; // canvas pixels for one of the 28
const FAINT = 0.14; // of the strongest: below that nothing is drawn
const LEAST = 1; // log-odds that fill a disc at least, so that noise does not look like a reason

export class Why {
  /** `picture`: a function that gives what is to be explained, or null. `onTrouble`: told of what service.js raises. */
  constructor(model, picture, onTrouble) {
    Object.assign(this, { classes: model.classes, picture, onTrouble, chosen: null, last: null });
    this.maps = {};
    at("maps").replaceChildren();
    Object.keys(model.models).forEach((name, index) => {
      const figure = document.createElement("figure");
      figure.style.setProperty("--colour", colour(index));
      const canvas = Object.assign(document.createElement("canvas"), { width: 28 * CELL, height: 28 * CELL });
      canvas.setAttribute("role", "img");
      const caption = Object.assign(document.createElement("figcaption"), { textContent: name });
      figure.append(canvas, caption);
      at("maps").append(figure);
      this.maps[name] = canvas;
    });
    at("why-classes").replaceChildren(
      ...this.classes.map((name, label) => {
        const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
        button.addEventListener("click", () => {
          this.chosen = label;
          this.explain();
        });
        return button;
      }),
    );
    at("why").ontoggle = () => this.explain();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.last && this.paint());
    this.clear();
  }

  clear() {
    this.request?.abort();
    this.chosen = this.last = null;
    at("why-say").textContent = TEXT.whyNothing;
    this.press(null);
    for (const [name, canvas] of Object.entries(this.maps)) {
      canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
      canvas.setAttribute("aria-label", `${name}: ${TEXT.whyNothing}`);
    }
  }

  /** A new answer is there: explain it, the champion's class first. */
  renew(pixels) {
    this.pixels = pixels;
    this.chosen = null;
    this.explain();
  }

  async explain() {
    const content = this.picture();
    if (!at("why").open || !content || !this.pixels) return;
    this.request?.abort();
    this.request = new AbortController();
    const path = this.chosen === null ? "explain" : `explain?label=${this.chosen}`;
    try {
      const answer = await ask(path, { body: content, type: content.type, signal: this.request.signal });
      this.last = answer.content;
      this.paint();
    } catch (trouble) {
      if (trouble.name !== "AbortError") this.onTrouble(trouble);
    }
  }

  press(label) {
    [...at("why-classes").children].forEach((button, i) => button.setAttribute("aria-pressed", i === label));
  }

  paint() {
    const { label, maps } = this.last;
    const name = this.classes[label];
    const style = getComputedStyle(at("why"));
    const colours = { ink: style.color, for: style.getPropertyValue("--for"), against: style.getPropertyValue("--against") };
    this.press(label);
    at("why-say").textContent = TEXT.whySay(name);
    for (const [model, map] of Object.entries(maps)) {
      const canvas = this.maps[model];
      if (!canvas) continue;
      canvas.setAttribute("aria-label", TEXT.whyMap(model, name));
      overlay(canvas.getContext("2d"), this.pixels, map.flat(), colours);
    }
  }
}

/** The digit in grey, and over it discs (for) and rings (against), larger the more a pixel counts. */
function overlay(pen, pixels, evidence, colours) {
  const most = Math.max(LEAST, ...evidence.map(Math.abs));
  pen.clearRect(0, 0, 28 * CELL, 28 * CELL);
  evidence.forEach((value, i) => {
    const [x, y] = [(i % 28) * CELL, Math.floor(i / 28) * CELL];
    pen.globalAlpha = (0.34 * pixels[i]) / 255;
    pen.fillStyle = colours.ink;
    pen.fillRect(x, y, CELL, CELL);
    const weight = Math.abs(value) / most;
    if (weight < FAINT) return;
    pen.globalAlpha = 0.35 + 0.65 * weight;
    const radius = (CELL / 2) * Math.sqrt(weight);
    pen.beginPath();
    if (value > 0) {
      pen.arc(x + CELL / 2, y + CELL / 2, radius, 0, 7);
      pen.fillStyle = colours.for;
      pen.fill();
    } else {
      const thick = Math.min(2.5, radius);
      pen.arc(x + CELL / 2, y + CELL / 2, radius - thick / 2, 0, 7);
      pen.strokeStyle = colours.against;
      pen.lineWidth = thick;
      pen.stroke();
    }
  });
  pen.globalAlpha = 1;
}
