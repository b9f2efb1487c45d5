// Sample digits 0 to 9. Each digit is a list of strokes, each stroke a list of [x, y] in the unit square.
const arc = (x, y, radiusX, radiusY, from, to) =>
  Array.from({ length: 21 }, (_, i) => {
    const angle = ((from + ((to - from) * i) / 20) * Math.PI) / 180; // 0 degrees points right, 90 degrees down
    return [x + radiusX * Math.cos(angle), y + radiusY * Math.sin(angle)];
  });
const line = (...corners) =>
  corners.slice(1).flatMap(([x, y], i) => {
    const [left, top] = corners[i];
    return Array.from({ length: 9 }, (_, k) => [left + ((x - left) * k) / 8, top + ((y - top) * k) / 8]);
  });

export const DIGITS = [
  [arc(0.5, 0.5, 0.2, 0.31, -80, 290)],
  [line([0.42, 0.3], [0.53, 0.19], [0.5, 0.81])],
  [[...arc(0.49, 0.35, 0.19, 0.16, 190, 385), ...line([0.63, 0.46], [0.3, 0.79]), ...line([0.3, 0.79], [0.72, 0.78])]],
  [[...arc(0.47, 0.34, 0.19, 0.15, 205, 450), ...arc(0.47, 0.65, 0.21, 0.17, -90, 155)]],
  [line([0.42, 0.19], [0.28, 0.56], [0.73, 0.55]), line([0.62, 0.35], [0.59, 0.83])],
  [[...line([0.37, 0.2], [0.35, 0.46]), ...arc(0.47, 0.62, 0.2, 0.19, 235, 500)], line([0.37, 0.2], [0.69, 0.19])],
  [[...arc(0.63, 0.65, 0.305, 0.47, 265, 180), ...arc(0.49, 0.65, 0.165, 0.165, 180, 540)]],
  [line([0.28, 0.22], [0.71, 0.21], [0.45, 0.82])],
  [[...arc(0.5, 0.345, 0.15, 0.145, -30, -270), ...arc(0.5, 0.655, 0.18, 0.165, -90, 270), ...arc(0.5, 0.345, 0.15, 0.145, 90, -30)]],
  [[...arc(0.49, 0.36, 0.16, 0.165, 0, -360), ...arc(0.36, 0.36, 0.29, 0.47, 0, 65)]],
];
