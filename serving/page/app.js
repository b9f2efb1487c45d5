// The page: strokes on a canvas, sent to /compare a moment after each, and every model's answer beside them.
const pad = document.getElementById("pad");
const seen = document.getElementById("seen");
const verdict = document.getElementById("verdict");
const cards = document.getElementById("models");
const pen = pad.getContext("2d");

const LINE_WIDTH = 34; // of 560: about as thick as a digit of MNIST is, relative to its height
const DELAY = 60; // ms of quiet before the drawing is sent
const TEXT = {
  start: "Draw something.",
  gone: "The service does not answer. It is tried again with your next stroke.",
  blank: "nothing drawn yet",
  low_confidence: "not sure",
  not_a_digit: "does not look like a digit",
};

let classes = [];
let strokes = [];
let stroke = null;
let timer = 0;
let request = null;

function style(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function place(event) {
  const box = pad.getBoundingClientRect();
  return [((event.clientX - box.left) / box.width) * pad.width, ((event.clientY - box.top) / box.height) * pad.height];
}

function draw() {
  pen.fillStyle = style("--pad");
  pen.fillRect(0, 0, pad.width, pad.height);
  pen.strokeStyle = style("--ink");
  pen.lineWidth = LINE_WIDTH;
  pen.lineCap = pen.lineJoin = "round";
  for (const points of strokes) {
    pen.beginPath();
    pen.moveTo(...points[0]);
    // Curves through the middles of neighbouring points: as smooth as the hand was
    for (let i = 1; i < points.length - 1; i++) {
      const [x, y] = points[i];
      const [nextX, nextY] = points[i + 1];
      pen.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
    }
    pen.lineTo(...points[points.length - 1]);
    pen.stroke();
  }
}

function changed() {
  draw();
  clearTimeout(timer);
  timer = setTimeout(ask, DELAY);
}

async function ask() {
  request?.abort();
  if (strokes.length === 0) return;
  request = new AbortController();
  const { signal } = request;
  try {
    // Not toBlob: browsers encode that when they find time, up to a second later
    const encoded = atob(pad.toDataURL("image/png").split(",")[1]);
    const picture = Uint8Array.from(encoded, (character) => character.charCodeAt(0));
    const response = await fetch("compare", { method: "POST", body: picture, headers: { "content-type": "image/png" }, signal });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    show(answer);
  } catch (error) {
    if (error.name !== "AbortError") verdict.textContent = error instanceof TypeError ? TEXT.gone : error.message;
  }
}

function show({ pixels, results, champion }) {
  const image = seen.getContext("2d").createImageData(28, 28);
  pixels.flat().forEach((value, i) => image.data.set([value, value, value, 255], 4 * i));
  seen.getContext("2d").putImageData(image, 0, 0);
  for (const [name, answer] of Object.entries(results)) {
    const card = document.getElementById(`model-${name}`);
    const digit = card.querySelector(".digit");
    digit.textContent = answer.reason === "blank" ? "–" : classes[answer.prediction];
    digit.classList.toggle("long", digit.textContent.length > 2);
    card.querySelector(".note").textContent = answer.reason
      ? TEXT[answer.reason]
      : answer.confidence > 0.9995
        ? "over 99.9% confident"
        : `${(100 * answer.confidence).toFixed(1)}% confident`;
    card.querySelectorAll("li").forEach((row, i) => {
      row.querySelector("i").style.transform = `scaleX(${answer.probabilities[i]})`;
      row.lastElementChild.textContent = `${(100 * answer.probabilities[i]).toFixed(0)}%`;
    });
  }
  const answers = new Set(Object.values(results).map((answer) => answer.prediction));
  const best = results[champion];
  verdict.textContent =
    best.reason === "blank"
      ? TEXT.start
      : answers.size === 1
        ? `${Object.keys(results).length > 1 ? "All models say" : `${champion} says`} ${classes[best.prediction]}.`
        : `The models disagree: ${Object.entries(results).map(([name, answer]) => `${name} says ${classes[answer.prediction]}`).join(", ")}.`;
}

function clear() {
  request?.abort();
  clearTimeout(timer);
  strokes = [];
  draw();
  seen.getContext("2d").clearRect(0, 0, 28, 28);
  for (const card of cards.children) {
    card.querySelector(".digit").textContent = "";
    card.querySelector(".note").textContent = "";
    card.querySelectorAll("i").forEach((bar) => (bar.style.transform = ""));
    card.querySelectorAll("li span:last-child").forEach((share) => (share.textContent = ""));
  }
  verdict.textContent = TEXT.start;
}

function build(model) {
  classes = model.classes;
  document.getElementById("about").textContent = `Every model trained on ${model.dataset} answers as you draw.`;
  Object.entries(model.models).forEach(([name, { version }], index) => {
    const card = document.createElement("article");
    card.className = "model";
    card.id = `model-${name}`;
    card.style.setProperty("--colour", `var(--model-${index % 6})`);
    const rows = classes.map(() => "<li><span></span><span><i></i></span><span></span></li>").join("");
    card.innerHTML = `<h2><span></span><small></small></h2><div class="digit"></div><p class="note"></p><ul class="bars">${rows}</ul>`;
    card.querySelector("h2 span").textContent = name;
    card.querySelector("small").textContent = `version ${version}${name === model.champion ? ", champion" : ""}`;
    card.querySelectorAll("li").forEach((row, i) => (row.firstElementChild.textContent = classes[i]));
    cards.append(card);
  });
}

pad.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  event.preventDefault();
  pad.setPointerCapture(event.pointerId);
  stroke = [place(event)];
  strokes.push(stroke);
  changed();
});
pad.addEventListener("pointermove", (event) => {
  if (!stroke) return;
  for (const part of event.getCoalescedEvents?.() ?? [event]) stroke.push(place(part));
  changed();
});
for (const name of ["pointerup", "pointercancel"]) pad.addEventListener(name, () => (stroke = null));
document.getElementById("clear").addEventListener("click", clear);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

draw();
fetch("model")
  .then((response) => response.json())
  .then(build)
  .catch(() => (verdict.textContent = TEXT.gone));
