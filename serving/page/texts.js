// All English texts of the page. Elements with data-text, data-label or data-alt get the plain strings. Functions take values.
const percent = (share) => (share > 0.9995 ? "over 99.9%" : `${(100 * share).toFixed(1)}%`);
const list = (words) => (words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`);

export const TEXT = {
  title: "Draw a digit",
  titleNumber: "Write a number",
  titleOther: (dataset) => `Draw for ${dataset}`,
  modes: "Drawing mode",
  modeDigit: "Digit",
  modeNumber: "Number",
  links: "More about the models",
  report: "Comparison report",
  card: (name) => `Model card: ${name}`,
  docs: "API",
  yourDrawing: "Your drawing",
  pad: "Drawing area",
  penHelp:
    "Draw with a mouse, finger or pen. With the keyboard: the arrow keys move the pen, with Shift in small steps. Space lowers or lifts the pen. Delete clears the drawing. Control Z undoes, Control Shift Z redoes.",
  penDown: "Pen is down",
  penUp: "Pen is up",
  hint: "Draw here, large, with a finger or the mouse",
  hintNumber: "Write several digits in a row",
  picture: "Your image",
  undo: "Undo",
  redo: "Redo",
  clear: "Clear",
  upload: "Upload",
  camera: "Camera",
  samples: "Sample digits",
  sample: (name) => `Sample ${name}`,
  answers: "Predictions",
  seen: "The model input: your drawing after preprocessing",
  seenCaption: "Model input: 28 × 28 pixels",
  start: "Nothing drawn yet",
  startDetail: "Predictions update as you draw.",
  startOther: "Draw, upload, paste or drop an image.",
  agree: (digit, count) =>
    count > 2 ? `All ${count} models predict ${digit}` : count > 1 ? `Both models predict ${digit}` : `Prediction: ${digit}`,
  disagree: "The models disagree",
  says: (name, digit) => `${name} predicts ${digit}`,
  disagreeDetail: (says, champion) => `${list(says)}. The champion is ${champion}.`,
  answered: (milliseconds) => `Answered in ${Math.round(milliseconds)} ms.`,
  doubt: {
    blank: () => "Nothing drawn yet",
    low_confidence: (first, second) => `Not sure: ${first} or ${second}`,
    not_a_digit: () => "Does not look like a digit",
  },
  doubtOther: { not_a_digit: () => "Does not look like the training images" },
  confident: (share) => `${percent(share)} confident`,
  version: (version, champion) => `version ${version}${champion ? " · champion" : ""}`,
  share: (share) => `${(100 * share).toFixed(0)}%`,
  number: (number) => `Prediction: ${number}`,
  numberLines: (number) => number.replaceAll("/", " / "),
  numberNothing: "No digits found",
  numberNothingDetail: "Write larger digits, with space between them.",
  numberEach: (digit, share) => `${digit}: ${percent(share)}`,
  starting: "The service is starting",
  startingDetail: "You can draw now. Predictions appear when the service is ready.",
  gone: "The service does not respond",
  goneDetail: "Your drawing is kept. The page retries every few seconds.",
  many: "Too many requests",
  manyDetail: (seconds) => `The page retries in ${seconds} s. You can keep drawing.`,
  key: "API key required",
  keyDetail: "The key is kept until you close this tab, and it is sent only to this service.",
  keyWrong: "The API key was rejected",
  keyLabel: "API key",
  keyButton: "Submit",
  refused: "The request failed",
  unreadable: "The response is not valid. Is there a proxy between your browser and the service?",
  feedback: "Feedback",
  feedbackTitle: "What did you draw?",
  feedbackWhich: "Choose a digit",
  feedbackPlace: (place, digit) => `Digit ${place}: ${digit}`,
  feedbackStored:
    "Stored: the 28 × 28 pixels that the models see, the predictions and the label that you choose. They help to find errors and to train better models. Nothing else about you is stored.",
  thanks: (label, count) => `Thank you. Label ${label} is saved.${count > 1 ? ` ${count} labels in total.` : ""}`,
  withdraw: "Withdraw the last label",
  withdrawn: (label) => `Label ${label} is withdrawn.`,
  copy: "Copy as curl command",
  copied: "Copied.",
  notCopied: "The browser does not allow copying.",
  whyTitle: "Why this prediction?",
  whyLead: "The pixels that support or contradict a class",
  whyChoose: "Class",
  whyFor: "supports the class",
  whyAgainst: "contradicts the class",
  whyMap: (name, label) => `Pixels that support or contradict ${label}, by ${name}`,
  whyNothing: "Draw something to see an explanation for each model.",
  whySay: (label) =>
    `Each spot was changed in turn: ink was removed or added, and the model predicted again. Filled discs: the change made ${label} less likely, so the original spot supports ${label}. Rings: the change made ${label} more likely, so the original spot contradicts ${label}.`,
  whyMeans:
    "The map shows how the prediction for this drawing reacts to small changes. It is not a reason as a person would give it. Each spot is changed alone, so combined effects are missing. A changed image can also be unlike any training image.",
  insideTitle: "Inside an MLP",
  insideLead: "A small network that you can watch while you draw",
  insideLoading: "Loading the network.",
  insideMissing: "This service does not include the demo network.",
  insideNothing: "Draw something to see the activations.",
  insideSay: (digit, share, active, widths, accuracy) =>
    `Prediction: ${digit}, ${percent(share)} confident. Active neurons: ${active[0]} of ${widths[1]} in the first hidden layer, ${active[1]} of ${widths[2]} in the second. ` +
    `The validation accuracy of this network is ${percent(accuracy)}. The models above are more accurate, but this network is small enough to show every neuron.`,
  insideFilters: "Weights of the most active neurons",
  insideLayers: (widths) => [`${widths[0]} pixels`, `${widths[1]} neurons`, `${widths[2]} neurons`],
  insideFilter: (neuron) => `Weights of neuron ${neuron} for the 784 pixels`,
  insideMeans:
    "Computed in your browser. Each square is a neuron; a stronger colour means a higher activation. Lines show the connections that contribute most: solid lines add, dashed lines subtract. The small images show the weights of the most active neurons in the first hidden layer, one weight per pixel. Ink on pixels of the first colour activates the neuron, ink on pixels of the other colour inhibits it.",
};

/** Fill in all texts that do not depend on values. */
export function fillTexts(root = document) {
  for (const element of root.querySelectorAll("[data-text]")) element.textContent = TEXT[element.dataset.text];
  for (const element of root.querySelectorAll("[data-label]")) element.setAttribute("aria-label", TEXT[element.dataset.label]);
  for (const element of root.querySelectorAll("[data-alt]")) element.alt = TEXT[element.dataset.alt];
}
