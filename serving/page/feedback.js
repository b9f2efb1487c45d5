// Feedback: one button per class sends the true label to /feedback. Labels can be withdrawn until the page is closed.
import { fillClassButtons } from "./classes.js";
import { fetchJson } from "./service.js";
import { TEXT } from "./texts.js";

const byId = (id) => document.getElementById(id);

export class Feedback {
  constructor() {
    this.withdrawing = false;
    this.saved = []; // {id, label, name} that can be withdrawn, newest last
    byId("withdraw").onclick = () => this.withdraw();
  }

  setClasses(classes) {
    this.classes = classes;
    fillClassButtons(byId("labels"), classes, (label) => this.save(label));
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

  /** Send a label; null withdraws. Returns whether the service stored it; otherwise its message is shown. */
  async send(id, label) {
    try {
      await fetchJson("feedback", { body: JSON.stringify({ request_id: id, label }), type: "application/json" });
      return true;
    } catch (error) {
      if (!error.kind) throw error; // a programming error: report it in the console
      byId("thanks").textContent = (label === null ? TEXT.notWithdrawn : TEXT.notSaved)(error.message || TEXT.gone);
      return false;
    }
  }
  async save(label) {
    const [id, name] = [this.requestId, this.classes[label]];
    if (!(await this.send(id, label))) return;
    this.saved = [...this.saved.filter((entry) => entry.id !== id), { id, label, name }];
    byId("thanks").textContent = TEXT.thanks(name, this.saved.length);
    this.updateButtons();
  }
  async withdraw() {
    if (this.withdrawing) return; // a double click withdraws one label
    const last = this.saved.at(-1);
    this.withdrawing = true;
    const withdrawn = await this.send(last.id, null).finally(() => (this.withdrawing = false));
    if (!withdrawn) return;
    this.saved = this.saved.filter((entry) => entry !== last); // other labels can have been saved meanwhile
    byId("thanks").textContent = TEXT.withdrawn(last.name);
    this.updateButtons();
    if (byId("withdraw").hidden) byId("labels").firstElementChild?.focus();
  }
}
