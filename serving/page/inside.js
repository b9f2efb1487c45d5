// The demo network: parse its file and compute its activations. pipeline/demo_network.py defines the file format.

/** Parse the file. Returns `{accuracy, widths, layers: [{inputs, outputs, weights, biases}]}`. */
export function read(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let offset = 4 + length;
  const readArray = (Kind, count) => {
    const from = offset;
    offset += count * Kind.BYTES_PER_ELEMENT;
    return new Kind(buffer.slice(from, offset));
  };
  const layers = header.widths.slice(1).map((outputs, i) => {
    const inputs = header.widths[i];
    const [scales, biases, quantized] = [readArray(Float32Array, outputs), readArray(Float32Array, outputs), readArray(Int8Array, inputs * outputs)];
    const weights = Float32Array.from(quantized, (value, k) => value * scales[k % outputs]);
    return { inputs, outputs, weights, biases };
  });
  return { ...header, layers };
}

/** Returns the activations of all layers for 784 pixels in 0..255: inputs, hidden layers (ReLU), probabilities (softmax). */
export function forward({ layers }, pixels) {
  const activations = [Float32Array.from(pixels, (value) => value / 255)];
  layers.forEach(({ inputs, outputs, weights, biases }, depth) => {
    const inputValues = activations[depth];
    const sums = Float32Array.from(biases);
    for (let i = 0; i < inputs; i++) {
      const value = inputValues[i];
      if (value === 0) continue; // most pixels are empty
      for (let k = 0, row = i * outputs; k < outputs; k++) sums[k] += value * weights[row + k];
    }
    activations.push(depth === layers.length - 1 ? softmax(sums) : sums.map((sum) => Math.max(sum, 0)));
  });
  return activations;
}

function softmax(logits) {
  const largest = Math.max(...logits);
  const exponentials = logits.map((value) => Math.exp(value - largest));
  const total = exponentials.reduce((sum, value) => sum + value, 0);
  return exponentials.map((value) => value / total);
}

/** Returns the `count` strongest connections of layer `depth` to the neurons `to`, as [from, to, contribution], strongest first. */
export function strongestConnections({ layers }, activations, depth, count, to) {
  const { outputs, weights } = layers[depth];
  const connections = [];
  activations[depth].forEach((value, from) => {
    if (value > 0) for (const end of to) connections.push([from, end, value * weights[from * outputs + end]]);
  });
  return connections.sort((a, b) => Math.abs(b[2]) - Math.abs(a[2])).slice(0, count);
}

/** Returns the indices of the `count` largest values, largest first. */
export const topIndices = (values, count) => [...values.keys()].sort((a, b) => values[b] - values[a]).slice(0, count);
