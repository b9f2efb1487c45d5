// Asking the service: the key where it wants one, and every way in which it may not answer.
const KEY = "digits-key"; // in this tab's session storage

/** `kind`: gone, starting, many (with `seconds`), key, refused (with the service's own words). */
export class Trouble extends Error {
  constructor(kind, message = "", seconds = 0) {
    super(message);
    this.kind = kind;
    this.seconds = seconds;
  }
}

export const hasKey = () => sessionStorage.getItem(KEY) !== null;
export const keepKey = (key) => sessionStorage.setItem(KEY, key);

/** The answer as JSON (null for 204) and its headers. Raises Trouble, or AbortError. */
export async function ask(path, { body, type, signal, draft } = {}) {
  const headers = {};
  if (type) headers["content-type"] = type;
  if (draft) headers["digits-draft"] = "1"; // a stroke that is not finished: not worth a place in a log
  if (hasKey()) headers.authorization = `Bearer ${sessionStorage.getItem(KEY)}`;
  let response, content;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", body, headers, signal });
    content = response.status === 204 ? null : await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (response && response.status < 500) throw new Trouble("refused", "");
    throw new Trouble("gone");
  }
  if (response.ok) return { content, headers: response.headers };
  const { status } = response;
  if (status === 429) throw new Trouble("many", content.error, Math.max(Number(response.headers.get("retry-after")) || 1, 1));
  const kind = { 401: "key", 502: "gone", 503: "starting", 504: "gone" }[status] ?? "refused";
  throw new Trouble(kind, content.error);
}

/** A line for the shell that asks the same with a picture of these 28x28 pixels. */
export function curl(png) {
  const key = hasKey() ? ' -H "Authorization: Bearer $DIGITS_API_KEY"' : "";
  const url = new URL("compare", location.href);
  return `printf %s '${png}' | base64 -d | curl -sS${key} -H 'Content-Type: image/png' --data-binary @- ${url}`;
}
