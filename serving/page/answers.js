// Every model's answer beside the drawing: the pixels they saw, the verdict in words, and a card with ten bars each.
import { TEXT } from "./texts.js";

const at = (id) => document.getElementById(id);
const seen = at("seen").getContext("2d");
const element = (tag, name, text = "") => Object.assign(document.createElement(tag), { className: name, textContent: text });

/** Whether the classes are the ten digits: samples and numbers make sense for these alone. */
export const areDigits = (classes) => classes.every((name, i) => name === String(i));

/** The colour of the model at that place of `params.yaml`, wherever it appears. */
export const colour = (index) => `var(--model-${index % 6})`;

export class Answers {
  /** `model`: the body of GET /model. */
  constructor(model) {
    this.classes = model.classes;
    this.cards = {};
    at("models").replaceChildren();
    Object.entries(model.models).forEach(([name, { version }], index) => {
      const card = element("article", "model");
      card.style.setProperty("--colour", colour(index));
      const head = element("h2", "", name);
      head.append(element("small", "", TEXT.version(version, name === model.champion)));
      const bars = element("ol", "bars");
      const rows = this.classes.map((label) => {
        const row = element("li", "");
        const track = element("span", "track");
        track.append(element("i", ""));
        row.append(element("span", "", label), track, element("span", "share"));
        bars.append(row);
        return row;
      });
      const digit = element("p", "digit");
      const note = element("p", "note");
      card.append(head, digit, note, bars);
      at("models").append(card);
      this.cards[name] = { card, digit, note, rows };
    });
    this.clear();
  }

  clear() {
    this.empty();
    at("detail").textContent = areDigits(this.classes) ? TEXT.startDetail : TEXT.startOther;
    this.verdict(TEXT.start);
  }

  /** No answers on the cards: what stood there belongs to another drawing. */
  empty() {
    this.pixels();
    for (const name of Object.keys(this.cards)) this.fill(name, "", "");
  }

  /** `answer`: the body of /compare, `milliseconds`: how long it took. */
  show({ pixels, results, champion }, milliseconds) {
    this.pixels(pixels.flat());
    const name = (answer) => this.classes[answer.prediction];
    for (const [model, answer] of Object.entries(results)) {
      this.fill(model, answer.reason === "blank" ? "" : name(answer), this.doubt(answer) ?? TEXT.confident(answer.confidence), answer);
    }
    const answers = Object.values(results);
    const said = new Set(answers.map((answer) => answer.prediction));
    const doubt = this.doubt(results[champion]);
    if (results[champion].reason === "blank") this.verdict(TEXT.start, "doubt");
    else if (said.size > 1) this.verdict(TEXT.disagree, "split");
    else this.verdict(TEXT.agree(name(answers[0]), answers.length), doubt ? "doubt" : "agree");
    const says = Object.entries(results).map(([model, answer]) => TEXT.says(model, name(answer)));
    const words = said.size > 1 ? TEXT.disagreeDetail(says, champion) : doubt && results[champion].reason !== "blank" ? `${doubt}.` : "";
    at("detail").textContent = `${words} ${TEXT.answered(milliseconds)}`.trim();
  }

  /** Why an answer is uncertain, in words; null where it is not. */
  doubt({ reason, probabilities }) {
    if (!reason) return null;
    const order = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
    const words = (!areDigits(this.classes) && TEXT.doubtOther[reason]) || TEXT.doubt[reason];
    return words(this.classes[order[0]], this.classes[order[1]]);
  }

  verdict(text, kind = "") {
    if (at("verdict").textContent !== text) at("verdict").textContent = text; // a screen reader says what changed, once
    at("result").dataset.kind = kind;
  }

  fill(model, text, note, answer = null) {
    const { card, digit, note: line, rows } = this.cards[model];
    digit.textContent = text || "–";
    digit.classList.toggle("long", text.length > 2);
    line.textContent = note;
    card.classList.toggle("uncertain", Boolean(answer?.uncertain));
    card.classList.toggle("empty", !text);
    rows.forEach((row, i) => {
      const share = answer?.probabilities[i] ?? 0;
      row.classList.toggle("best", Boolean(text) && answer?.prediction === i);
      row.children[1].firstChild.style.transform = `scaleX(${share})`;
      row.lastChild.textContent = answer ? TEXT.share(share) : "";
    });
  }

  /** Show 784 grey values, or none. */
  pixels(values = []) {
    const image = seen.createImageData(28, 28);
    for (let i = 0; i < 784; i++) image.data.set([values[i] ?? 0, values[i] ?? 0, values[i] ?? 0, 255], 4 * i);
    seen.putImageData(image, 0, 0);
  }
}

/** What is wrong, in the place of the verdict; `trouble` as raised by service.js. */
export function showTrouble({ kind, message, seconds }, known) {
  const words = {
    gone: [TEXT.gone, TEXT.goneDetail],
    starting: [TEXT.starting, TEXT.startingDetail],
    many: [TEXT.many, TEXT.manyDetail(seconds)],
    key: [known ? TEXT.keyWrong : TEXT.key, TEXT.keyDetail],
    refused: [TEXT.refused, message || TEXT.unreadable],
  }[kind];
  if (at("verdict").textContent !== words[0]) at("verdict").textContent = words[0];
  at("detail").textContent = words[1];
  at("result").dataset.kind = "trouble";
}
