// The drawing area: strokes by mouse, touch, pen and keyboard, pictures, undo and redo. Draws at once, tells others later.
const SIDE = 560; // units of the area's height, whatever its size on the screen
const WIDTH = 31; // of a stroke: about as thick as MNIST's, relative to a digit that fills the area
const SENT = 280; // pixels of height of what is sent: 28x28 are made of 120
const STEP = 28; // units that an arrow key moves the pen
const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class Drawing extends EventTarget {
  /** Fires "change" after each stroke, undo and so on, "draft" while a stroke is drawn, "pen" when the keyboard's pen moves. */
  constructor(canvas) {
    super();
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    this.states = [{ strokes: [], picture: null }];
    this.now = 0;
    this.stroke = null; // the one being drawn
    this.drawn = 0; // points of it that are on the screen
    this.frame = 0;
    this.key = { x: SIDE / 2, y: SIDE / 2, down: false };
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.end(event));
    canvas.addEventListener("keydown", (event) => this.press(event));
    canvas.addEventListener("blur", () => this.lift());
    new ResizeObserver(() => this.fit()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
  }

  get state() {
    return this.states[this.now];
  }
  get blank() {
    return this.strokes.length === 0 && !this.state.picture;
  }
  get strokes() {
    return this.stroke ? [...this.state.strokes, this.stroke] : this.state.strokes;
  }
  get width() {
    return (SIDE * this.canvas.clientWidth) / this.canvas.clientHeight;
  }

  /** A new state that undo can leave again. */
  keep(state) {
    this.states = [...this.states.slice(0, this.now + 1), state];
    this.now++;
    this.changed();
  }
  go(by) {
    if (!this.states[this.now + by]) return;
    this.stop();
    this.now += by;
    this.changed();
  }
  clear() {
    this.stop();
    if (!this.blank) this.keep({ strokes: [], picture: null });
  }
  show(picture) {
    this.stop();
    this.keep({ strokes: [], picture });
  }
  changed() {
    this.paint();
    this.dispatchEvent(new Event("change"));
  }
  stop() {
    this.stroke = this.playing = null;
    this.key.down = false;
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = SIDE / box.height;
    const pressure = event.pointerType === "pen" && event.pressure ? 0.55 + 0.9 * event.pressure : 1;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale, WIDTH * pressure];
  }
  begin(event) {
    if (event.button !== 0 || !event.isPrimary) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.stop();
    this.start(this.place(event));
  }
  move(event) {
    if (!this.stroke || !event.isPrimary || this.key.down || this.playing) return;
    const parts = event.getCoalescedEvents?.() ?? [];
    for (const part of parts.length ? parts : [event]) this.add(this.place(part));
  }
  end(event) {
    if (event.isPrimary && !this.key.down && !this.playing) this.finish();
  }

  start(point) {
    if (this.state.picture) this.keep({ strokes: [], picture: null });
    this.stroke = [point];
    this.drawn = 0;
    this.schedule();
  }
  add(point) {
    const [x, y] = this.stroke.at(-1);
    if (Math.hypot(point[0] - x, point[1] - y) < 2) return;
    this.stroke.push(point);
    this.schedule();
  }
  finish() {
    if (!this.stroke) return;
    const strokes = this.strokes;
    this.stroke = null;
    this.keep({ strokes, picture: null });
  }
  schedule() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      if (!this.stroke) return;
      trace(this.pen, this.stroke, Math.max(this.drawn - 1, 0)); // what is new only
      this.drawn = this.stroke.length;
      this.dispatchEvent(new Event("draft"));
    });
  }

  press(event) {
    const { key, shiftKey: small } = event;
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    if (step) {
      const by = small ? STEP / 4 : STEP;
      this.key.x = Math.min(Math.max(this.key.x + by * step[0], 0), this.width);
      this.key.y = Math.min(Math.max(this.key.y + by * step[1], 0), SIDE);
      if (this.key.down && this.stroke) this.add([this.key.x, this.key.y, WIDTH]);
    } else if (key === " " || key === "Enter") {
      if (this.key.down) this.lift();
      else {
        this.stop();
        this.key.down = true;
        this.start([this.key.x, this.key.y, WIDTH]);
      }
    } else if (key === "Delete" || key === "Backspace") this.clear();
    else return;
    event.preventDefault();
    this.dispatchEvent(new Event("pen"));
  }
  lift() {
    if (!this.key.down) return;
    this.key.down = false;
    this.finish();
    this.dispatchEvent(new Event("pen"));
  }

  /** Draw given strokes (shares of a square) as a hand would, or at once where motion is not wanted. */
  play(shares) {
    this.stop();
    const left = (this.width - SIDE) / 2;
    const strokes = shares.map((points) => points.map(([x, y]) => [left + x * SIDE, y * SIDE, WIDTH]));
    if (calm.matches) return this.keep({ strokes, picture: null });
    const total = strokes.flat().length;
    const playing = (this.playing = {});
    const begun = performance.now();
    const next = (time) => {
      if (this.playing !== playing) return;
      let left = Math.ceil((total * (time - begun)) / 380);
      if (left >= total) {
        this.playing = null;
        return this.keep({ strokes, picture: null });
      }
      this.wipe();
      for (const points of strokes) {
        if (left > 0) trace(this.pen, points.slice(0, left));
        left -= points.length;
      }
      requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  }

  fit() {
    const ratio = Math.min(devicePixelRatio, 2);
    this.canvas.width = Math.round(this.canvas.clientWidth * ratio);
    this.canvas.height = Math.round(this.canvas.clientHeight * ratio);
    this.paint();
    this.dispatchEvent(new Event("pen"));
  }
  wipe() {
    const scale = this.canvas.height / SIDE;
    this.pen.setTransform(1, 0, 0, 1, 0, 0);
    this.pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.pen.setTransform(scale, 0, 0, scale, 0, 0);
    this.pen.strokeStyle = getComputedStyle(this.canvas).color;
  }
  paint() {
    this.wipe();
    for (const points of this.strokes) trace(this.pen, points);
    this.drawn = this.stroke?.length ?? 0;
  }

  /** What is sent: the picture as it came, or the strokes, black on white whatever the page's colours. */
  content() {
    const { picture } = this.state;
    if (picture) return picture.blob;
    const canvas = document.createElement("canvas");
    canvas.height = SENT;
    canvas.width = Math.round((SENT * this.width) / SIDE);
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.scale(SENT / SIDE, SENT / SIDE);
    for (const points of this.strokes) trace(pen, points);
    return toPng(canvas);
  }
  /** Width and height of what is sent, in its own pixels. */
  extent() {
    const { picture } = this.state;
    return picture ? [picture.width, picture.height] : [Math.round((SENT * this.width) / SIDE), SENT];
  }

  /** The strokes at once as the service would centre them, about: 784 bytes, ink bright; null for a picture. */
  preview() {
    const points = this.strokes.flat();
    if (this.state.picture || !points.length) return null;
    const low = [0, 1].map((axis) => Math.min(...points.map((point) => point[axis] - point[2] / 2)));
    const high = [0, 1].map((axis) => Math.max(...points.map((point) => point[axis] + point[2] / 2)));
    const scale = 20 / Math.max(high[0] - low[0], high[1] - low[1]);
    const render = (shiftX, shiftY) => {
      small.setTransform(1, 0, 0, 1, 0, 0);
      small.clearRect(0, 0, 28, 28);
      small.setTransform(scale, 0, 0, scale, shiftX, shiftY);
      for (const stroke of this.strokes) {
        // within the widths that the service keeps
        trace(small, stroke.map(([x, y, width]) => [x, y, Math.min(Math.max(width * scale, 2), 3.6) / scale]));
      }
      return small.getImageData(0, 0, 28, 28).data.filter((_, i) => i % 4 === 3);
    };
    const start = [0, 1].map((axis) => 14 - (scale * (low[axis] + high[axis])) / 2);
    const first = render(...start);
    const total = first.reduce((sum, value) => sum + value, 0) || 1;
    const mean = [0, 0];
    first.forEach((value, i) => {
      mean[0] += (value * ((i % 28) + 0.5)) / total;
      mean[1] += (value * (Math.floor(i / 28) + 0.5)) / total;
    });
    return render(start[0] + Math.round(14 - mean[0]), start[1] + Math.round(14 - mean[1]));
  }
}

const smallCanvas = document.createElement("canvas");
smallCanvas.width = smallCanvas.height = 28;
const small = smallCanvas.getContext("2d", { willReadFrequently: true });

/** A stroke from its point `from` on: curves through the middles between points, each as wide as the hand pressed. */
export function trace(pen, points, from = 0) {
  pen.lineCap = pen.lineJoin = "round";
  const middle = (i) => [(points[i][0] + points[i + 1][0]) / 2, (points[i][1] + points[i + 1][1]) / 2];
  const last = points.length - 1;
  for (let i = from; i <= last; i++) {
    if (i === from || points[i][2] !== points[i - 1][2]) {
      if (i > from) pen.stroke(); // one path as long as the width stays: no seams
      pen.beginPath();
      pen.moveTo(...(i === 0 ? points[0].slice(0, 2) : middle(i - 1)));
      pen.lineWidth = points[i][2];
    }
    pen.quadraticCurveTo(points[i][0], points[i][1], ...(i === last ? points[last].slice(0, 2) : middle(i)));
  }
  pen.stroke();
}

/** PNG bytes. Not toBlob: browsers encode that when they find time, up to a second later. */
export function toPng(canvas) {
  const encoded = atob(canvas.toDataURL("image/png").split(",")[1]);
  return new Blob([Uint8Array.from(encoded, (character) => character.charCodeAt(0))], { type: "image/png" });
}
