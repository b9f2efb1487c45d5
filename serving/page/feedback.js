// Feedback: one button per class sends the true label to /feedback. Labels can be withdrawn until the page is closed.
import { fillClassButtons } from "./classes.js";
import { fetchJson } from "./service.js";
import { TEXT } from "./texts.js";

const byId = (id) => document.getElementById(id);

export class Feedback {
  constructor(classes, onError) {
    Object.assign(this, { classes, onError, requestId: null });
    this.saved = []; // {id, label} that can be withdrawn, newest last
    fillClassButtons(byId("labels"), classes, (label) => this.save(label));
    byId("withdraw").onclick = () => this.withdraw();
    this.setRequest(null);
  }

  /** Set the request that the next label belongs to; null if nothing is drawn or the service stores no predictions. */
  setRequest(requestId) {
    this.requestId = requestId;
    for (const button of byId("labels").children) button.disabled = requestId === null;
    this.updateButtons();
  }
  /** Show the section if the service stores predictions (response header `digits-logged`). */
  setVisible(stored) {
    byId("feedback").hidden = !stored;
  }

  updateButtons() {
    const saved = this.saved.findLast(({ id }) => id === this.requestId);
    [...byId("labels").children].forEach((button, i) => button.setAttribute("aria-pressed", saved?.label === i));
    byId("withdraw").hidden = this.saved.length === 0;
  }

  async send(id, label) {
    try {
      await fetchJson("feedback", { body: JSON.stringify({ request_id: id, label }), type: "application/json" });
      return true;
    } catch (error) {
      this.onError(error);
      return false;
    }
  }
  async save(label) {
    const id = this.requestId;
    if (!(await this.send(id, label))) return;
    this.saved = [...this.saved.filter((entry) => entry.id !== id), { id, label }];
    byId("thanks").textContent = TEXT.thanks(this.classes[label], this.saved.length);
    this.updateButtons();
  }
  async withdraw() {
    const { id, label } = this.saved.at(-1);
    if (!(await this.send(id, null))) return;
    this.saved.pop();
    byId("thanks").textContent = TEXT.withdrawn(this.classes[label]);
    this.updateButtons();
    if (byId("withdraw").hidden) byId("labels").firstElementChild?.focus();
  }
}
