// Prediction results: the model input, a summary, and for each model a card with a probability bar for each class.
// Of many classes, the cards show the most probable ones.
import { areDigits, areMany } from "./classes.js";
import { IMAGE_SIZE } from "./drawing.js";
import { topIndices } from "./inside.js";
import { TEXT } from "./texts.js";

const TOP_BARS = 5; // of many classes; one more bar is for all others

const byId = (id) => document.getElementById(id);
const inputContext = byId("seen").getContext("2d");
const element = (tag, className, text = "") => Object.assign(document.createElement(tag), { className, textContent: text });

/** Returns the CSS colour of a model. `index`: position of the model in `params.yaml`. */
export const modelColour = (index) => `var(--model-${index % 6})`;

export class Answers {
  /** `model`: the body of GET /model. */
  constructor(model) {
    this.classes = model.classes;
    this.cards = {};
    byId("models").replaceChildren();
    byId("models").classList.toggle("names", !areDigits(this.classes));
    Object.entries(model.models).forEach(([name, { version }], index) => {
      const card = element("article", "model");
      card.style.setProperty("--colour", modelColour(index));
      const head = element("h2", "", name);
      head.append(element("small", "", TEXT.version(version, name === model.champion)));
      const bars = element("ol", "bars");
      const rows = this.bars(null).map(([label]) => {
        const row = element("li", "");
        const track = element("span", "track");
        track.append(element("i", ""));
        row.append(element("span", "class", label), track, element("span", "share"));
        bars.append(row);
        return row;
      });
      const digit = element("p", "digit");
      const note = element("p", "note");
      card.append(head, digit, note, bars);
      byId("models").append(card);
      this.cards[name] = { card, digit, note, rows };
    });
    this.clearCards();
  }

  clear() {
    this.clearCards();
    byId("detail").textContent = areDigits(this.classes) ? TEXT.startDetail : TEXT.startOther;
    this.showSummary(TEXT.start);
  }

  /** Clear the cards and the model input, which belong to an earlier drawing. */
  clearCards() {
    this.showPixels();
    for (const name of Object.keys(this.cards)) this.fillCard(name, "", "");
  }

  /** Show a response of POST /compare. `milliseconds`: latency of the request. */
  show({ pixels, results, champion }, milliseconds) {
    this.showPixels(pixels.flat());
    const name = (answer) => this.classes[answer.prediction];
    for (const [model, answer] of Object.entries(results)) {
      this.fillCard(model, answer.reason === "blank" ? "" : name(answer), this.uncertaintyText(answer) ?? TEXT.confident(answer.confidence), answer);
    }
    const answers = Object.values(results);
    const predictions = new Set(answers.map((answer) => answer.prediction));
    const uncertainty = this.uncertaintyText(results[champion]);
    if (results[champion].reason === "blank") this.showSummary(TEXT.start, "uncertain");
    else if (predictions.size > 1) this.showSummary(TEXT.disagree, "disagree");
    else this.showSummary(TEXT.agree(name(answers[0]), answers.length), uncertainty ? "uncertain" : "agree");
    const predictionTexts = Object.entries(results).map(([model, answer]) => TEXT.says(model, name(answer)));
    const detail = predictions.size > 1 ? TEXT.disagreeDetail(predictionTexts, champion) : uncertainty && results[champion].reason !== "blank" ? `${uncertainty}.` : "";
    byId("detail").textContent = `${detail} ${TEXT.answered(milliseconds)}`.trim();
  }

  /** Returns the reason for an uncertain prediction as text, or null for a certain prediction. */
  uncertaintyText({ reason, probabilities }) {
    if (!reason) return null;
    const order = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
    const text = (!areDigits(this.classes) && TEXT.doubtOther[reason]) || TEXT.doubt[reason];
    return text(this.classes[order[0]], this.classes[order[1]]);
  }

  /** Returns name, probability and index of the class of each bar; `answer` is null for none. */
  bars(answer) {
    const shares = answer?.probabilities ?? this.classes.map(() => 0);
    if (!areMany(this.classes)) return this.classes.map((name, label) => [name, shares[label], label]);
    const top = topIndices(shares, TOP_BARS);
    const rest = Math.max(1 - top.reduce((sum, label) => sum + shares[label], 0), 0);
    return [...top.map((label) => [answer ? this.classes[label] : "", shares[label], label]), [TEXT.others, answer ? rest : 0, null]];
  }

  showSummary(text, kind = "") {
    if (byId("verdict").textContent !== text) byId("verdict").textContent = text; // an unchanged text would be announced again
    byId("result").dataset.kind = kind;
  }

  fillCard(model, text, note, answer = null) {
    const { card, digit, note: noteElement, rows } = this.cards[model];
    digit.textContent = text || "–";
    digit.classList.toggle("long", text.length > 2);
    noteElement.textContent = note;
    card.classList.toggle("uncertain", Boolean(answer?.uncertain));
    card.classList.toggle("empty", !text);
    this.bars(answer).forEach(([name, share, label], i) => {
      const row = rows[i];
      row.firstChild.textContent = name;
      row.classList.toggle("best", Boolean(text) && answer?.prediction === label);
      row.children[1].firstChild.style.transform = `scaleX(${share})`;
      row.lastChild.textContent = answer ? TEXT.share(share) : "";
    });
  }

  /** Show the model input. `values`: 784 grey values in 0..255; an empty list clears it. */
  showPixels(values = []) {
    const image = inputContext.createImageData(IMAGE_SIZE, IMAGE_SIZE);
    for (let i = 0; i < IMAGE_SIZE ** 2; i++) image.data.set([values[i] ?? 0, values[i] ?? 0, values[i] ?? 0, 255], 4 * i);
    inputContext.putImageData(image, 0, 0);
  }
}

/** Show a ServiceError in place of the summary. `keySent`: whether the request contained an API key. */
export function showError({ kind, message, seconds }, keySent) {
  const [summary, detail] = {
    gone: [TEXT.gone, TEXT.goneDetail],
    starting: [TEXT.starting, TEXT.startingDetail],
    changing: [TEXT.changing, TEXT.changingDetail],
    many: [TEXT.many, TEXT.manyDetail(seconds)],
    key: [keySent ? TEXT.keyWrong : TEXT.key, TEXT.keyDetail],
    refused: [TEXT.refused, message || TEXT.unreadable],
  }[kind];
  if (byId("verdict").textContent !== summary) byId("verdict").textContent = summary;
  byId("detail").textContent = detail;
  byId("result").dataset.kind = "error";
}
