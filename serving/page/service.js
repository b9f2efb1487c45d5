// HTTP client of the service: adds the API key and converts failed requests to a ServiceError.
const STORAGE_KEY = "digits-key"; // in sessionStorage, so it is deleted when the tab is closed
const KINDS = { not_ready: "starting", unknown_model: "changing", not_digits: "changing" }; // by error code

/**
 * `kind`: gone (no response), starting, changing (the service is replacing its models), many (rate limit, retry after `seconds`),
 * key (401), refused (with the service's message).
 */
export class ServiceError extends Error {
  constructor(kind, message = "", seconds = 0) {
    super(message);
    this.kind = kind;
    this.seconds = seconds;
  }
}

export const hasKey = () => sessionStorage.getItem(STORAGE_KEY) !== null;
export const storeKey = (key) => sessionStorage.setItem(STORAGE_KEY, key);

/** Send a request; POST if there is a body. Returns the parsed JSON (null for status 204) and the headers. Throws ServiceError or AbortError. */
export async function fetchJson(path, { body, type, signal, draft } = {}) {
  const headers = {};
  if (type) headers["content-type"] = type;
  if (draft) headers["digits-draft"] = "1"; // an unfinished stroke: the service does not log the prediction
  if (hasKey()) headers.authorization = `Bearer ${sessionStorage.getItem(STORAGE_KEY)}`;
  let response, content;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", body, headers, signal });
    content = response.status === 204 ? null : await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (response && response.status < 500) throw new ServiceError("refused", "");
    throw new ServiceError("gone");
  }
  if (response.ok) return { content, headers: response.headers };
  const { status } = response;
  if (status === 429) throw new ServiceError("many", content.error, Math.max(Number(response.headers.get("retry-after")) || 1, 1));
  const kind = KINDS[content.code] ?? { 401: "key", 502: "gone", 504: "gone" }[status] ?? "refused";
  throw new ServiceError(kind, content.error);
}

/** Returns a shell command that sends the same request. `png`: the 28x28 model input, base64. */
export function curlCommand(png) {
  const key = hasKey() ? ' -H "Authorization: Bearer $DIGITS_API_KEY"' : "";
  const url = new URL("compare", location.href);
  return `printf %s '${png}' | base64 -d | curl -sS${key} -H 'Content-Type: image/png' --data-binary @- ${url}`;
}
