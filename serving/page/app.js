// Entry point of the page: connects the drawing, the service and the views. Drawing never waits for a response.
import { Answers, modelColour, showError } from "./answers.js";
import { areCharacters, areDigits } from "./classes.js";
import { Drawing } from "./drawing.js";
import { Explanation } from "./explain.js";
import { Feedback } from "./feedback.js";
import { Network } from "./network.js";
import { showBoxes, showChoice, showNumber } from "./number.js";
import { curlCommand, fetchJson, hasKey, ServiceError, storeKey } from "./service.js";
import { DIGITS } from "./strokes.js";
import { fillTexts, TEXT } from "./texts.js";
import { readPicture } from "./upload.js";

const byId = (id) => document.getElementById(id);
const isEqual = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const STROKE_DELAY = 30; // ms from the end of a stroke to the request
const NUMBER_DELAY = 250; // ms, the same in number mode; longer, because another digit usually follows
const DRAFT_INTERVAL = 200; // ms between two requests during a stroke
const RETRY_DELAY = 2000; // ms until the next request when the service does not respond

const drawing = new Drawing(byId("pad"));
let model = null; // body of GET /model
let answers, explanation, network, feedback;
let mode = "digit";
let timer = 0;
let activeRequest = null; // AbortController of the current request
let drafting = false; // a stroke is in progress
let retryTime = 0; // no request is sent before this time

fillTexts();
updateHint();
document.body.classList.remove("loading");
refresh();

/** Load the description of the served models. Set up the views at the first time and after a change. */
async function load(signal) {
  const { content } = await fetchJson("model", { signal });
  if (isEqual(content, model)) return;
  explanation ??= new Explanation(() => (drawing.blank || mode === "number" ? null : drawing.imageBlob()), handleError);
  network ??= new Network();
  feedback ??= new Feedback();
  answers = new Answers(content);
  explanation.setModel(content);
  if (!isEqual(content.classes, model?.classes)) {
    network.setClasses(content.classes);
    feedback.setClasses(content.classes);
  }
  model = content;
  const digits = areDigits(model.classes);
  byId("modes").hidden = !digits;
  setMode(digits ? mode : "digit");
  byId("cards-links").replaceChildren(
    ...Object.keys(model.models).map((name) => Object.assign(document.createElement("a"), { href: `cards/${name}`, textContent: TEXT.card(name) })),
  );
  updateTitle();
}

/** Returns whether a response of /compare comes from the models that the page knows. */
function isKnown({ results, champion }) {
  const versions = (models) => Object.entries(models).map(([name, { version }]) => [name, version]);
  return champion === model.champion && isEqual(versions(results), versions(model.models));
}

/** Request predictions for the current drawing and show them. Errors are shown, and the request is retried. */
async function refresh() {
  clearTimeout(timer);
  timer = 0;
  const wait = retryTime - performance.now();
  if (wait > 0) return schedule(wait);
  if (drafting && activeRequest) return schedule(); // do not abort during a stroke: an older prediction is better than none
  activeRequest?.abort();
  const controller = (activeRequest = new AbortController());
  try {
    // responses in number mode do not say which models are served
    if (!model || (mode === "number" && !drawing.blank)) await load(controller.signal);
    byId("key").hidden = true;
    if (drawing.blank) showBlank();
    else await (mode === "digit" ? compare(controller.signal) : readNumber(controller.signal));
  } catch (error) {
    if (error.name === "AbortError") return;
    answers?.clearCards();
    handleError(error);
  } finally {
    if (activeRequest === controller) activeRequest = null;
  }
}

function schedule(milliseconds = DRAFT_INTERVAL) {
  clearTimeout(timer);
  if (milliseconds < Infinity) timer = setTimeout(refresh, milliseconds);
}

async function compare(signal) {
  const body = drawing.imageBlob();
  const draft = drafting;
  const started = performance.now();
  const { content, headers } = await fetchJson("compare", { body, type: body.type, signal, draft });
  const elapsed = performance.now() - started;
  if (!isKnown(content)) await load(signal);
  if (!isKnown(content)) throw new ServiceError("changing"); // the processes of the service load new models one by one
  answers.show(content, elapsed);
  if (draft) return;
  feedback.setVisible(headers.get("digits-logged") === "pixels");
  feedback.setRequest(content.request_id);
  network.show(content.pixels.flat());
  explanation.update(content.pixels.flat());
  byId("copy").disabled = false;
}

async function readNumber(signal) {
  const body = drawing.imageBlob();
  const size = drawing.imageSize();
  const started = performance.now();
  const names = Object.keys(model.models);
  const responses = await Promise.all(names.map((name) => fetchJson(`predict_number?model=${name}`, { body, type: body.type, signal })));
  const readings = Object.fromEntries(names.map((name, i) => [name, responses[i].content]));
  showNumber(answers, readings, model.champion, performance.now() - started);
  const { digits, request_id } = readings[model.champion];
  showBoxes(digits, size, model.classes, modelColour(names.indexOf(model.champion)));
  const { headers } = responses[names.indexOf(model.champion)];
  feedback.setVisible(headers.get("digits-logged") === "pixels" && digits.length > 0);
  showChoice(digits, model.classes, (place) => feedback.setRequest(`${request_id}-${place}`));
}

function showBlank() {
  answers.clear();
  explanation.clear();
  network.show(null);
  feedback.setRequest(null);
  byId("copy").disabled = true;
}

function handleError(error) {
  if (!error.kind) throw error; // a programming error: report it in the console
  showError(error, hasKey());
  byId("key").hidden = error.kind !== "key";
  const wait = { gone: RETRY_DELAY, starting: RETRY_DELAY, changing: RETRY_DELAY, many: 1000 * error.seconds, key: Infinity }[error.kind];
  if (!wait) return;
  retryTime = performance.now() + wait;
  schedule(wait);
}

drawing.addEventListener("draft", () => {
  drafting = true;
  updateHint();
  showBoxes();
  network?.show(drawing.preview());
  if (mode === "digit" && model) timer ||= setTimeout(refresh, DRAFT_INTERVAL);
});
drawing.addEventListener("change", () => {
  drafting = false;
  updateHint();
  updatePicture();
  showBoxes();
  byId("undo").disabled = drawing.index === 0;
  byId("redo").disabled = drawing.index === drawing.states.length - 1;
  byId("clear").disabled = drawing.blank;
  byId("copied").textContent = "";
  feedback?.setRequest(null); // until the new response arrives
  showChoice();
  schedule(drawing.blank ? 0 : mode === "digit" ? STROKE_DELAY : NUMBER_DELAY);
});
drawing.addEventListener("pen", () => {
  const { keyboardPen, canvas } = drawing;
  const scale = canvas.clientHeight / 560;
  byId("pen").hidden = !canvas.matches(":focus-visible");
  byId("pen").classList.toggle("down", keyboardPen.down);
  byId("pen").style.transform = `translate(${keyboardPen.x * scale}px, ${keyboardPen.y * scale}px)`;
  const penState = keyboardPen.down ? TEXT.penDown : TEXT.penUp;
  if (byId("pen-state").textContent !== penState) byId("pen-state").textContent = penState;
});
drawing.canvas.addEventListener("focus", () => drawing.dispatchEvent(new Event("pen")));
drawing.canvas.addEventListener("blur", () => (byId("pen").hidden = true));

function updateHint() {
  byId("hint").textContent = drawing.blank ? (mode === "digit" ? TEXT.hint : TEXT.hintNumber) : "";
}
function updateTitle() {
  const other = areCharacters(model.classes) ? TEXT.titleCharacters : TEXT.titleOther(model.dataset);
  const text = areDigits(model.classes) ? (mode === "digit" ? TEXT.title : TEXT.titleNumber) : other;
  document.title = text;
  document.querySelector("h1").textContent = text;
}
function updatePicture() {
  const { picture } = drawing.state;
  byId("picture").hidden = !picture;
  if (picture && byId("picture").src !== picture.url) byId("picture").src = picture.url;
}

function setMode(value) {
  mode = value;
  for (const button of byId("modes").children) button.setAttribute("aria-pressed", button.value === mode);
  document.body.classList.toggle("number", mode === "number");
  byId("why").hidden = byId("inside").hidden = mode === "number";
  byId("samples").hidden = mode === "number" || (model !== null && !areDigits(model.classes));
  showBoxes();
  showChoice();
}
for (const button of byId("modes").children) {
  button.addEventListener("click", () => {
    if (mode === button.value) return;
    setMode(button.value);
    feedback?.setVisible(false);
    if (model) {
      updateTitle();
      answers.clear();
    }
    drawing.clear();
    updateHint();
  });
}

byId("undo").addEventListener("click", () => drawing.go(-1));
byId("redo").addEventListener("click", () => drawing.go(1));
byId("clear").addEventListener("click", () => drawing.clear());
byId("undo").disabled = byId("redo").disabled = byId("clear").disabled = true;
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
  byId("samples").append(button);
});

async function openImage(file) {
  if (!file) return;
  const picture = await readPicture(file);
  drawing.showPicture({ ...picture, url: URL.createObjectURL(picture.blob) });
}
for (const input of [byId("file"), byId("shot")]) {
  input.addEventListener("change", () => {
    openImage(input.files[0]);
    input.value = "";
  });
}
addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find(({ type }) => type.startsWith("image/"));
  if (file) openImage(file);
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  byId("frame").classList.add("over");
});
addEventListener("dragleave", (event) => event.relatedTarget === null && byId("frame").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  byId("frame").classList.remove("over");
  openImage(event.dataTransfer.files[0]);
});

byId("key").addEventListener("submit", (event) => {
  event.preventDefault();
  storeKey(byId("key-field").value);
  byId("key-field").value = "";
  retryTime = 0;
  refresh();
});

byId("copy").addEventListener("click", async () => {
  const png = byId("seen").toDataURL("image/png").split(",")[1];
  const copied = await navigator.clipboard?.writeText(curlCommand(png)).then(() => true, () => false);
  byId("copied").textContent = copied ? TEXT.copied : TEXT.notCopied;
});
