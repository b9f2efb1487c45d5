// "What was it?": one button for each class, sent to /feedback, and taken back until the page is left.
import { areDigits } from "./answers.js";
import { ask } from "./service.js";
import { TEXT } from "./texts.js";

const at = (id) => document.getElementById(id);

export class Feedback {
  constructor(classes, onTrouble) {
    Object.assign(this, { classes, onTrouble, request: null });
    this.given = []; // {id, label} that can be taken back, the newest last
    at("labels").replaceChildren(
      ...classes.map((name, label) => {
        const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
        button.addEventListener("click", () => this.give(label));
        return button;
      }),
    );
    at("labels").classList.toggle("digits", areDigits(classes));
    at("withdraw").onclick = () => this.withdraw();
    this.about(null);
  }

  /** The answer that a label would belong to; null where nothing is stored, or nothing drawn. */
  about(request) {
    this.request = request;
    for (const button of at("labels").children) button.disabled = request === null;
    this.mark();
  }
  /** Shown as soon as the service says that it stores what it answers. */
  reveal(stored) {
    at("feedback").hidden = !stored;
  }

  mark() {
    const given = this.given.findLast(({ id }) => id === this.request);
    [...at("labels").children].forEach((button, i) => button.setAttribute("aria-pressed", given?.label === i));
    at("withdraw").hidden = this.given.length === 0;
  }

  async send(id, label) {
    try {
      await ask("feedback", { body: JSON.stringify({ request_id: id, label }), type: "application/json" });
      return true;
    } catch (trouble) {
      this.onTrouble(trouble);
      return false;
    }
  }
  async give(label) {
    const id = this.request;
    if (!(await this.send(id, label))) return;
    this.given = [...this.given.filter((one) => one.id !== id), { id, label }];
    at("thanks").textContent = TEXT.thanks(this.classes[label], this.given.length);
    this.mark();
  }
  async withdraw() {
    const { id, label } = this.given.at(-1);
    if (!(await this.send(id, null))) return;
    this.given.pop();
    at("thanks").textContent = TEXT.withdrawn(this.classes[label]);
    this.mark();
    if (at("withdraw").hidden) at("labels").firstElementChild?.focus();
  }
}
