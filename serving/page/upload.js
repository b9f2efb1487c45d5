// Uploaded images: those above the limits of the service are downscaled first.
const MAX_BYTES = 1_900_000; // the service accepts at most 2 MB
const MAX_PIXELS = 16_000_000; // default of DIGITS_MAX_PIXELS
const MAX_SIDE = 1600; // pixels, of a downscaled image

/** Returns `{blob, width, height}` for an image file: the file itself, or a downscaled copy. */
export async function readPicture(file) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) return { blob: file, width: 1, height: 1 }; // the service reports why the image is invalid
  const { width, height } = bitmap;
  if (file.size <= MAX_BYTES && width * height <= MAX_PIXELS) return { blob: file, width, height };
  const scale = Math.min(1, MAX_SIDE / Math.max(width, height));
  const canvas = Object.assign(document.createElement("canvas"), { width: Math.round(width * scale), height: Math.round(height * scale) });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high"; // keeps thin strokes
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const transparent = data.some((value, i) => i % 4 === 3 && value < 255); // JPEG would make transparent pixels black
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, transparent ? "image/webp" : "image/jpeg", 0.9));
  return { blob, width: canvas.width, height: canvas.height };
}
