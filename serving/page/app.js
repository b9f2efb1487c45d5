// The page: connects the drawing to the service and to what is shown. Nothing in here waits while one draws.
import { Answers, areDigits, colour, showTrouble } from "./answers.js";
import { Drawing } from "./drawing.js";
import { Why } from "./explain.js";
import { Feedback } from "./feedback.js";
import { Network } from "./network.js";
import { showBoxes, showNumber } from "./number.js";
import { ask, curl, hasKey, keepKey } from "./service.js";
import { DIGITS } from "./strokes.js";
import { fillTexts, TEXT } from "./texts.js";

const at = (id) => document.getElementById(id);
const AFTER_STROKE = 30; // ms from the end of a stroke to asking; in number mode more, for the next digit follows
const AFTER_DIGIT = 250;
const WHILE_DRAWING = 200; // ms between two questions within a stroke
const AGAIN = 2000; // ms until a service that does not answer is asked again
const MOST_BYTES = 1_900_000; // of a picture: larger ones are made smaller here, for the service refuses 2 MB
const MOST_SIDE = 1600; // pixels, of a picture that is made smaller

const drawing = new Drawing(at("pad"));
let model = null; // body of GET /model
let answers, why, network, feedback;
let mode = "digit";
let timer = 0;
let request = null; // the one under way
let drafting = false; // the drawing goes on
let pause = 0; // the time before which the service is left in peace

fillTexts();
hint();
document.body.classList.remove("loading");
refresh();

async function load(signal) {
  model = (await ask("model", { signal })).content;
  answers = new Answers(model);
  why = new Why(model, () => (drawing.blank || mode === "number" ? null : drawing.content()), trouble);
  network = new Network(model.classes);
  feedback = new Feedback(model.classes, trouble);
  const digits = areDigits(model.classes);
  if (!digits) at("modes").hidden = at("samples").hidden = true;
  at("cards-links").replaceChildren(
    ...Object.keys(model.models).map((name) => Object.assign(document.createElement("a"), { href: `cards/${name}`, textContent: TEXT.card(name) })),
  );
  title();
}

/** Ask for what is drawn now and show the answer; whatever goes wrong is said and tried again. */
async function refresh() {
  clearTimeout(timer);
  timer = 0;
  const wait = pause - performance.now();
  if (wait > 0) return later(wait);
  if (drafting && request) return later(); // let it answer: while drawing, an older answer is better than none
  request?.abort();
  const mine = (request = new AbortController());
  try {
    if (!model) await load(mine.signal);
    at("key").hidden = true;
    if (drawing.blank) nothing();
    else await (mode === "digit" ? compare(mine.signal) : readNumber(mine.signal));
  } catch (error) {
    if (error.name === "AbortError") return;
    answers?.empty();
    trouble(error);
  } finally {
    if (request === mine) request = null;
  }
}

function later(milliseconds = WHILE_DRAWING) {
  clearTimeout(timer);
  if (milliseconds < Infinity) timer = setTimeout(refresh, milliseconds);
}

async function compare(signal) {
  const body = drawing.content();
  const draft = drafting;
  const begun = performance.now();
  const { content, headers } = await ask("compare", { body, type: body.type, signal, draft });
  answers.show(content, performance.now() - begun);
  if (draft) return;
  feedback.reveal(headers.get("digits-logged") === "pixels");
  feedback.about(content.request_id);
  network.show(content.pixels.flat());
  why.renew(content.pixels.flat());
  at("copy").disabled = false;
}

async function readNumber(signal) {
  const body = drawing.content();
  const extent = drawing.extent();
  const begun = performance.now();
  const names = Object.keys(model.models);
  const found = await Promise.all(names.map((name) => ask(`predict_number?model=${name}`, { body, type: body.type, signal })));
  const readings = Object.fromEntries(names.map((name, i) => [name, found[i].content]));
  showNumber(answers, readings, model.champion, performance.now() - begun);
  showBoxes(readings[model.champion].digits, extent, model.classes, colour(names.indexOf(model.champion)));
}

function nothing() {
  answers.clear();
  why.clear();
  network.show(null);
  feedback.about(null);
  at("copy").disabled = true;
}

function trouble(error) {
  if (!error.kind) throw error; // a mistake of ours belongs into the console
  showTrouble(error, hasKey());
  at("key").hidden = error.kind !== "key";
  const wait = { gone: AGAIN, starting: AGAIN, many: 1000 * error.seconds, key: Infinity }[error.kind];
  if (!wait) return;
  pause = performance.now() + wait;
  later(wait);
}

drawing.addEventListener("draft", () => {
  drafting = true;
  hint();
  showBoxes();
  network?.show(drawing.preview());
  if (mode === "digit" && model) timer ||= setTimeout(refresh, WHILE_DRAWING);
});
drawing.addEventListener("change", () => {
  drafting = false;
  hint();
  picture();
  showBoxes();
  at("undo").disabled = drawing.now === 0;
  at("redo").disabled = drawing.now === drawing.states.length - 1;
  at("clear").disabled = drawing.blank;
  at("copied").textContent = "";
  feedback?.about(null); // until the new answer is there
  later(drawing.blank ? 0 : mode === "digit" ? AFTER_STROKE : AFTER_DIGIT);
});
drawing.addEventListener("pen", () => {
  const { key, canvas } = drawing;
  const scale = canvas.clientHeight / 560;
  at("pen").hidden = !canvas.matches(":focus-visible");
  at("pen").classList.toggle("down", key.down);
  at("pen").style.transform = `translate(${key.x * scale}px, ${key.y * scale}px)`;
  const said = key.down ? TEXT.penDown : TEXT.penUp;
  if (at("pen-state").textContent !== said) at("pen-state").textContent = said;
});
drawing.canvas.addEventListener("focus", () => drawing.dispatchEvent(new Event("pen")));
drawing.canvas.addEventListener("blur", () => (at("pen").hidden = true));

function hint() {
  at("hint").textContent = drawing.blank ? (mode === "digit" ? TEXT.hint : TEXT.hintNumber) : "";
}
function title() {
  const words = areDigits(model.classes) ? (mode === "digit" ? TEXT.title : TEXT.titleNumber) : TEXT.titleOther(model.dataset);
  document.title = words;
  document.querySelector("h1").textContent = words;
}
function picture() {
  const { picture } = drawing.state;
  at("picture").hidden = !picture;
  if (picture && at("picture").src !== picture.url) at("picture").src = picture.url;
}

for (const button of at("modes").children) {
  button.addEventListener("click", () => {
    if (mode === button.value) return;
    mode = button.value;
    for (const other of at("modes").children) other.setAttribute("aria-pressed", other === button);
    document.body.classList.toggle("number", mode === "number");
    at("why").hidden = at("inside").hidden = at("samples").hidden = mode === "number";
    feedback?.reveal(false);
    if (model) {
      title();
      answers.clear();
    }
    drawing.clear();
    hint();
  });
}

at("undo").addEventListener("click", () => drawing.go(-1));
at("redo").addEventListener("click", () => drawing.go(1));
at("clear").addEventListener("click", () => drawing.clear());
at("undo").disabled = at("redo").disabled = at("clear").disabled = true;
addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.altKey || event.target.matches("input")) return;
  const key = event.key.toLowerCase();
  if (key !== "z" && key !== "y") return;
  event.preventDefault();
  drawing.go(key === "y" || event.shiftKey ? 1 : -1);
});

DIGITS.forEach((strokes, digit) => {
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-label", TEXT.sample(digit));
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 100");
  svg.setAttribute("aria-hidden", "true");
  for (const points of strokes) {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    line.setAttribute("points", points.map(([x, y]) => `${Math.round(100 * x)},${Math.round(100 * y)}`).join(" "));
    svg.append(line);
  }
  button.append(svg);
  button.addEventListener("click", () => drawing.play(strokes));
  at("samples").append(button);
});

async function open(file) {
  if (!file) return;
  let blob = file;
  const bitmap = await createImageBitmap(file).catch(() => null); // null: the service will say what is wrong with it
  let [width, height] = [bitmap?.width ?? 1, bitmap?.height ?? 1];
  if (bitmap && file.size > MOST_BYTES) {
    const scale = Math.min(1, MOST_SIDE / Math.max(width, height));
    const canvas = Object.assign(document.createElement("canvas"), { width: Math.round(width * scale), height: Math.round(height * scale) });
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
    [width, height] = [canvas.width, canvas.height];
  }
  drawing.show({ blob, width, height, url: URL.createObjectURL(blob) });
}
for (const input of [at("file"), at("shot")]) {
  input.addEventListener("change", () => {
    open(input.files[0]);
    input.value = "";
  });
}
addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find(({ type }) => type.startsWith("image/"));
  if (file) open(file);
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  at("frame").classList.add("over");
});
addEventListener("dragleave", (event) => event.relatedTarget === null && at("frame").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  at("frame").classList.remove("over");
  open(event.dataTransfer.files[0]);
});

at("key").addEventListener("submit", (event) => {
  event.preventDefault();
  keepKey(at("key-field").value);
  at("key-field").value = "";
  pause = 0;
  refresh();
});

at("copy").addEventListener("click", async () => {
  const png = at("seen").toDataURL("image/png").split(",")[1];
  const copied = await navigator.clipboard?.writeText(curl(png)).then(() => true, () => false);
  at("copied").textContent = copied ? TEXT.copied : TEXT.notCopied;
});
