// Number mode: the number that each model predicts, and the champion's digits with their boxes over the drawing.
import { TEXT } from "./texts.js";

const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

/** Draw the boxes of a /predict_number response over the drawing. The boxes refer to an image of the given width and height. */
export function showBoxes(digits = [], [imageWidth, imageHeight] = [1, 1], classes = [], colour = "") {
  const svg = byId("boxes");
  svg.style.setProperty("--colour", colour);
  svg.setAttribute("viewBox", `0 0 ${imageWidth} ${imageHeight}`);
  const unit = imageHeight / 100;
  svg.replaceChildren(
    ...digits.flatMap(({ prediction, box: [x, y, width, height] }) => {
      const rectangle = document.createElementNS(SVG, "rect");
      const rectangleAttributes = { x: x - unit, y: y - unit, width: width + 2 * unit, height: height + 2 * unit, rx: 2 * unit };
      for (const [name, value] of Object.entries(rectangleAttributes)) rectangle.setAttribute(name, value);
      const text = document.createElementNS(SVG, "text");
      const above = y > 13 * unit;
      const textAttributes = { x: x + width / 2, y: above ? y - 3 * unit : y + height + 11 * unit, "font-size": 11 * unit };
      for (const [name, value] of Object.entries(textAttributes)) text.setAttribute(name, value);
      text.textContent = classes[prediction];
      return [rectangle, text];
    }),
  );
}

/** Show each model's number on its card and the champion's number as the summary. `readings`: {model name: body of /predict_number}. */
export function showNumber(answers, readings, champion, milliseconds) {
  for (const [name, { number, confidence }] of Object.entries(readings)) {
    answers.fillCard(name, TEXT.numberLines(number), number ? TEXT.confident(confidence) : TEXT.numberNothing);
  }
  const { number, digits } = readings[champion];
  const numbers = new Set(Object.values(readings).map((reading) => reading.number));
  if (!number) answers.showSummary(TEXT.numberNothing, "uncertain");
  else if (numbers.size > 1) answers.showSummary(TEXT.disagree, "disagree");
  else answers.showSummary(TEXT.number(TEXT.numberLines(number)), "agree");
  const digitTexts = digits.map(({ prediction, confidence }) => TEXT.numberEach(answers.classes[prediction], confidence));
  const detail = number ? digitTexts.join(", ") : TEXT.numberNothingDetail;
  byId("detail").textContent = `${detail}${number ? "." : ""} ${TEXT.answered(milliseconds)}`;
}

/**
 * Show a button for each digit of a number; the user chooses the one to label. `onChoose` gets its place, from 0.
 * The chosen digit has a thicker box.
 */
export function showChoice(digits = [], classes = [], onChoose = () => {}) {
  byId("which").hidden = digits.length === 0;
  const buttons = digits.map(({ prediction }, place) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: classes[prediction] });
    button.setAttribute("aria-label", TEXT.feedbackPlace(place + 1, classes[prediction]));
    button.setAttribute("aria-pressed", false);
    button.addEventListener("click", () => {
      buttons.forEach((other) => other.setAttribute("aria-pressed", other === button));
      byId("boxes").querySelectorAll("rect").forEach((box, i) => box.classList.toggle("chosen", i === place));
      onChoose(place);
    });
    return button;
  });
  byId("which-digits").replaceChildren(...buttons);
}
