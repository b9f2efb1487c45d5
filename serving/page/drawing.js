// The drawing area: strokes by mouse, touch, pen and keyboard, uploaded images, undo and redo.
export const IMAGE_SIZE = 28; // pixels, side of the model input
const BOX_SIZE = 20; // pixels, longer side of a digit in the model input
const PAD_HEIGHT = 560; // height of the drawing area in drawing units, independent of its size on the screen
const STROKE_WIDTH = 31; // drawing units; a digit that fills the area gets about the stroke width of MNIST
const UPLOAD_HEIGHT = 280; // pixels, height of the uploaded image
const KEY_STEP = 28; // drawing units per press of an arrow key
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

export class Drawing extends EventTarget {
  /** Events: "change" after each stroke, undo, redo, clear or upload; "draft" during a stroke; "pen" when the keyboard pen moves, lifts or lowers. */
  constructor(canvas) {
    super();
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.states = [{ strokes: [], picture: null }];
    this.index = 0;
    this.stroke = null; // the stroke in progress: points [x, y, width] in drawing units
    this.drawnPoints = 0; // number of its points that are already painted
    this.frame = 0;
    this.keyboardPen = { x: PAD_HEIGHT / 2, y: PAD_HEIGHT / 2, down: false };
    canvas.addEventListener("pointerdown", (event) => this.pointerDown(event));
    canvas.addEventListener("pointermove", (event) => this.pointerMove(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.pointerUp(event));
    canvas.addEventListener("keydown", (event) => this.keyDown(event));
    canvas.addEventListener("blur", () => this.liftPen());
    new ResizeObserver(() => this.resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
  }

  get state() {
    return this.states[this.index];
  }
  get blank() {
    return this.strokes.length === 0 && !this.state.picture;
  }
  get strokes() {
    return this.stroke ? [...this.state.strokes, this.stroke] : this.state.strokes;
  }
  get width() {
    return (PAD_HEIGHT * this.canvas.clientWidth) / this.canvas.clientHeight;
  }

  /** Append a state to the undo history and discard the states that could be redone. */
  pushState(state) {
    this.states = [...this.states.slice(0, this.index + 1), state];
    this.index++;
    this.notifyChange();
  }
  go(by) {
    if (!this.states[this.index + by]) return;
    this.cancel();
    this.index += by;
    this.notifyChange();
  }
  clear() {
    const busy = this.stroke || this.animation;
    this.cancel();
    if (!this.blank) this.pushState({ strokes: [], picture: null });
    else if (busy) this.notifyChange(); // remove the ink of the cancelled stroke
  }
  showPicture(picture) {
    this.cancel();
    this.pushState({ strokes: [], picture });
  }
  notifyChange() {
    this.paint();
    this.dispatchEvent(new Event("change"));
  }
  cancel() {
    this.stroke = this.animation = null;
    this.keyboardPen.down = false;
  }

  toPoint(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = PAD_HEIGHT / box.height;
    const pressure = event.pointerType === "pen" && event.pressure ? 0.55 + 0.9 * event.pressure : 1;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale, STROKE_WIDTH * pressure];
  }
  pointerDown(event) {
    if (event.button !== 0 || !event.isPrimary) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.cancel();
    this.startStroke(this.toPoint(event));
  }
  pointerMove(event) {
    if (!this.stroke || !event.isPrimary || this.keyboardPen.down || this.animation) return;
    const parts = event.getCoalescedEvents?.() ?? [];
    for (const part of parts.length ? parts : [event]) this.addPoint(this.toPoint(part));
  }
  pointerUp(event) {
    if (event.isPrimary && !this.keyboardPen.down && !this.animation) this.finishStroke();
  }

  startStroke(point) {
    if (this.state.picture) this.pushState({ strokes: [], picture: null });
    this.stroke = [point];
    this.drawnPoints = 0;
    this.scheduleFrame();
  }
  addPoint(point) {
    const [x, y] = this.stroke.at(-1);
    if (Math.hypot(point[0] - x, point[1] - y) < 2) return;
    this.stroke.push(point);
    this.scheduleFrame();
  }
  finishStroke() {
    if (!this.stroke) return;
    const strokes = this.strokes;
    this.stroke = null;
    this.pushState({ strokes, picture: null });
  }
  scheduleFrame() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      if (!this.stroke) return;
      trace(this.context, this.stroke, Math.max(this.drawnPoints - 1, 0)); // only the new points
      this.drawnPoints = this.stroke.length;
      this.dispatchEvent(new Event("draft"));
    });
  }

  keyDown(event) {
    const { key, shiftKey: fine } = event;
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    if (step) {
      const by = fine ? KEY_STEP / 4 : KEY_STEP;
      this.keyboardPen.x = Math.min(Math.max(this.keyboardPen.x + by * step[0], 0), this.width);
      this.keyboardPen.y = Math.min(Math.max(this.keyboardPen.y + by * step[1], 0), PAD_HEIGHT);
      if (this.keyboardPen.down && this.stroke) this.addPoint([this.keyboardPen.x, this.keyboardPen.y, STROKE_WIDTH]);
    } else if (key === " " || key === "Enter") {
      if (this.keyboardPen.down) this.liftPen();
      else {
        this.cancel();
        this.keyboardPen.down = true;
        this.startStroke([this.keyboardPen.x, this.keyboardPen.y, STROKE_WIDTH]);
      }
    } else if (key === "Delete" || key === "Backspace") this.clear();
    else return;
    event.preventDefault();
    this.dispatchEvent(new Event("pen"));
  }
  liftPen() {
    if (!this.keyboardPen.down) return;
    this.keyboardPen.down = false;
    this.finishStroke();
    this.dispatchEvent(new Event("pen"));
  }

  /** Animate strokes given in coordinates of the unit square; without animation if the user prefers reduced motion. */
  play(unitStrokes) {
    this.cancel();
    const left = (this.width - PAD_HEIGHT) / 2;
    const strokes = unitStrokes.map((points) => points.map(([x, y]) => [left + x * PAD_HEIGHT, y * PAD_HEIGHT, STROKE_WIDTH]));
    if (reducedMotion.matches) return this.pushState({ strokes, picture: null });
    const total = strokes.flat().length;
    const animation = (this.animation = {});
    const started = performance.now();
    const next = (time) => {
      if (this.animation !== animation) return;
      let remaining = Math.ceil((total * (time - started)) / 380);
      if (remaining >= total) {
        this.animation = null;
        return this.pushState({ strokes, picture: null });
      }
      this.clearCanvas();
      for (const points of strokes) {
        if (remaining > 0) trace(this.context, points.slice(0, remaining));
        remaining -= points.length;
      }
      requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  }

  resize() {
    const ratio = Math.min(devicePixelRatio, 2);
    this.canvas.width = Math.round(this.canvas.clientWidth * ratio);
    this.canvas.height = Math.round(this.canvas.clientHeight * ratio);
    this.paint();
    this.dispatchEvent(new Event("pen"));
  }
  clearCanvas() {
    const scale = this.canvas.height / PAD_HEIGHT;
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.context.setTransform(scale, 0, 0, scale, 0, 0);
    this.context.strokeStyle = getComputedStyle(this.canvas).color;
  }
  paint() {
    this.clearCanvas();
    for (const points of this.strokes) trace(this.context, points);
    this.drawnPoints = this.stroke?.length ?? 0;
  }

  /** Returns the image to upload: the original file, or the strokes in black on white, also in dark mode. */
  imageBlob() {
    const { picture } = this.state;
    if (picture) return picture.blob;
    const canvas = document.createElement("canvas");
    canvas.height = UPLOAD_HEIGHT;
    canvas.width = Math.round((UPLOAD_HEIGHT * this.width) / PAD_HEIGHT);
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.scale(UPLOAD_HEIGHT / PAD_HEIGHT, UPLOAD_HEIGHT / PAD_HEIGHT);
    for (const points of this.strokes) trace(context, points);
    return toPng(canvas);
  }
  /** Returns the width and height of the image to upload, in pixels. */
  imageSize() {
    const { picture } = this.state;
    return picture ? [picture.width, picture.height] : [Math.round((UPLOAD_HEIGHT * this.width) / PAD_HEIGHT), UPLOAD_HEIGHT];
  }

  /** Returns the strokes approximately as the service preprocesses them: 784 bytes, bright ink; null for an uploaded image. */
  preview() {
    const points = this.strokes.flat();
    if (this.state.picture || !points.length) return null;
    const min = [0, 1].map((axis) => Math.min(...points.map((point) => point[axis] - point[2] / 2)));
    const max = [0, 1].map((axis) => Math.max(...points.map((point) => point[axis] + point[2] / 2)));
    const scale = BOX_SIZE / Math.max(max[0] - min[0], max[1] - min[1]);
    const render = (shiftX, shiftY) => {
      previewContext.setTransform(1, 0, 0, 1, 0, 0);
      previewContext.clearRect(0, 0, IMAGE_SIZE, IMAGE_SIZE);
      previewContext.setTransform(scale, 0, 0, scale, shiftX, shiftY);
      for (const stroke of this.strokes) {
        // stroke widths are limited to the range that preprocessing keeps
        trace(previewContext, stroke.map(([x, y, width]) => [x, y, Math.min(Math.max(width * scale, 2), 3.6) / scale]));
      }
      return previewContext.getImageData(0, 0, IMAGE_SIZE, IMAGE_SIZE).data.filter((_, i) => i % 4 === 3);
    };
    const centre = IMAGE_SIZE / 2;
    const start = [0, 1].map((axis) => centre - (scale * (min[axis] + max[axis])) / 2);
    const draft = render(...start);
    const total = draft.reduce((sum, value) => sum + value, 0) || 1;
    const centroid = [0, 0];
    draft.forEach((value, i) => {
      centroid[0] += (value * ((i % IMAGE_SIZE) + 0.5)) / total;
      centroid[1] += (value * (Math.floor(i / IMAGE_SIZE) + 0.5)) / total;
    });
    return render(start[0] + Math.round(centre - centroid[0]), start[1] + Math.round(centre - centroid[1]));
  }
}

const previewCanvas = document.createElement("canvas");
previewCanvas.width = previewCanvas.height = IMAGE_SIZE;
const previewContext = previewCanvas.getContext("2d", { willReadFrequently: true });

/** Draw a stroke from point `from` on, as curves through the midpoints between points. Each point has its own width. */
export function trace(context, points, from = 0) {
  context.lineCap = context.lineJoin = "round";
  const midpoint = (i) => [(points[i][0] + points[i + 1][0]) / 2, (points[i][1] + points[i + 1][1]) / 2];
  const last = points.length - 1;
  for (let i = from; i <= last; i++) {
    if (i === from || points[i][2] !== points[i - 1][2]) {
      if (i > from) context.stroke(); // a path per width; a path per segment would show seams
      context.beginPath();
      context.moveTo(...(i === 0 ? points[0].slice(0, 2) : midpoint(i - 1)));
      context.lineWidth = points[i][2];
    }
    context.quadraticCurveTo(points[i][0], points[i][1], ...(i === last ? points[last].slice(0, 2) : midpoint(i)));
  }
  context.stroke();
}

/** Returns the canvas as a PNG blob. Synchronous, because browsers can delay canvas.toBlob by up to a second. */
export function toPng(canvas) {
  const encoded = atob(canvas.toDataURL("image/png").split(",")[1]);
  return new Blob([Uint8Array.from(encoded, (character) => character.charCodeAt(0))], { type: "image/png" });
}
