// A number of several digits: what each model reads, with the champion's boxes and digits drawn over the writing.
import { TEXT } from "./texts.js";

const at = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

/** Draw `digits` of a /predict_number answer over a picture of that width and height, in one colour. */
export function showBoxes(digits = [], [wide, high] = [1, 1], classes = [], hue = "") {
  const svg = at("boxes");
  svg.style.setProperty("--colour", hue);
  svg.setAttribute("viewBox", `0 0 ${wide} ${high}`);
  const unit = high / 100;
  svg.replaceChildren(
    ...digits.flatMap(({ prediction, box: [x, y, width, height] }) => {
      const rectangle = document.createElementNS(SVG, "rect");
      const values = { x: x - unit, y: y - unit, width: width + 2 * unit, height: height + 2 * unit, rx: 2 * unit };
      for (const [name, value] of Object.entries(values)) rectangle.setAttribute(name, value);
      const text = document.createElementNS(SVG, "text");
      const above = y > 13 * unit;
      const place = { x: x + width / 2, y: above ? y - 3 * unit : y + height + 11 * unit, "font-size": 11 * unit };
      for (const [name, value] of Object.entries(place)) text.setAttribute(name, value);
      text.textContent = classes[prediction];
      return [rectangle, text];
    }),
  );
}

/** Put each model's reading on its card and the champion's into words. `readings`: {NAME: body of /predict_number}. */
export function showNumber(answers, readings, champion, milliseconds) {
  for (const [name, { number, confidence }] of Object.entries(readings)) {
    answers.fill(name, TEXT.numberLines(number), number ? TEXT.confident(confidence) : TEXT.numberNothing);
  }
  const { number, digits } = readings[champion];
  const said = new Set(Object.values(readings).map((reading) => reading.number));
  if (!number) answers.verdict(TEXT.numberNothing, "doubt");
  else if (said.size > 1) answers.verdict(TEXT.disagree, "split");
  else answers.verdict(TEXT.number(TEXT.numberLines(number)), "agree");
  const each = digits.map(({ prediction, confidence }) => TEXT.numberEach(answers.classes[prediction], confidence));
  const words = number ? each.join(", ") : TEXT.numberNothingDetail;
  at("detail").textContent = `${words}${number ? "." : ""} ${TEXT.answered(milliseconds)}`;
}
