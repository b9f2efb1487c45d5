// The small MLP itself, in plain numbers: read its file, and pass 784 pixels through. The file's form: pipeline/demo_network.py.

/** `{accuracy, widths, layers: [{inputs, outputs, weights, biases}]}` from the file's bytes. */
export function read(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let place = 4 + length;
  const take = (Kind, count) => {
    const from = place;
    place += count * Kind.BYTES_PER_ELEMENT;
    return new Kind(buffer.slice(from, place));
  };
  const layers = header.widths.slice(1).map((outputs, i) => {
    const inputs = header.widths[i];
    const [scales, biases, small] = [take(Float32Array, outputs), take(Float32Array, outputs), take(Int8Array, inputs * outputs)];
    const weights = Float32Array.from(small, (value, k) => value * scales[k % outputs]);
    return { inputs, outputs, weights, biases };
  });
  return { ...header, layers };
}

/** Activations of every layer for 784 pixels of 0..255: inputs, hidden layers (ReLU), probabilities (softmax). */
export function forward({ layers }, pixels) {
  const activations = [Float32Array.from(pixels, (value) => value / 255)];
  layers.forEach(({ inputs, outputs, weights, biases }, depth) => {
    const before = activations[depth];
    const sums = Float32Array.from(biases);
    for (let i = 0; i < inputs; i++) {
      const value = before[i];
      if (value === 0) continue; // most pixels are empty
      for (let k = 0, row = i * outputs; k < outputs; k++) sums[k] += value * weights[row + k];
    }
    activations.push(depth === layers.length - 1 ? softmax(sums) : sums.map((sum) => Math.max(sum, 0)));
  });
  return activations;
}

function softmax(logits) {
  const most = Math.max(...logits);
  const powers = logits.map((value) => Math.exp(value - most));
  const total = powers.reduce((sum, value) => sum + value, 0);
  return powers.map((value) => value / total);
}

/** The `count` connections into layer `depth` that carry most: [from, to, value], strongest first; `to` limits the ends. */
export function strongest({ layers }, activations, depth, count, to) {
  const { outputs, weights } = layers[depth];
  const found = [];
  activations[depth].forEach((value, from) => {
    if (value > 0) for (const end of to) found.push([from, end, value * weights[from * outputs + end]]);
  });
  return found.sort((a, b) => Math.abs(b[2]) - Math.abs(a[2])).slice(0, count);
}

/** The indices of the `count` greatest values, greatest first. */
export const top = (values, count) => [...values.keys()].sort((a, b) => values[b] - values[a]).slice(0, count);
