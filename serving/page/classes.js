// The names of the classes: whether they are digits or characters, and one button for each of them.

const MANY = 12; // more classes than this: only the most probable ones are shown, and their buttons are one tab stop

/** Returns whether the classes are the ten digits. Sample digits and number mode require this. */
export const areDigits = (classes) => classes.length === 10 && classes.every((name, i) => name === String(i));

/** Returns whether each class is a single character. */
export const areCharacters = (classes) => classes.every((name) => [...name].length === 1);

/** Returns whether there are too many classes to show all of them. */
export const areMany = (classes) => classes.length > MANY;

/** Fill a container with a button for each class. `onChoose` gets the index of the class. */
export function fillClassButtons(container, classes, onChoose) {
  const buttons = classes.map((name, label) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
    button.addEventListener("click", () => onChoose(label));
    return button;
  });
  container.replaceChildren(...buttons);
  container.setAttribute("role", "group");
  container.onkeydown = null;
  container.classList.toggle("digits", areDigits(classes));
  container.classList.toggle("characters", areMany(classes) && areCharacters(classes));
  if (areMany(classes)) makeToolbar(container, buttons, classes);
}

/** One tab stop for all buttons: arrow keys, Home and End move the focus, and so does the name of a class. */
function makeToolbar(container, buttons, classes) {
  container.setAttribute("role", "toolbar");
  const select = (chosen) => buttons.forEach((button, i) => (button.tabIndex = i === chosen ? 0 : -1));
  select(0);
  container.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const last = buttons.length - 1;
    const current = buttons.indexOf(event.target);
    const keys = { ArrowRight: Math.min(current + 1, last), ArrowLeft: Math.max(current - 1, 0), Home: 0, End: last };
    const next = keys[event.key] ?? classes.indexOf(event.key);
    if (next < 0) return;
    event.preventDefault();
    select(next);
    buttons[next].focus();
  };
  buttons.forEach((button, i) => button.addEventListener("focus", () => select(i)));
}
