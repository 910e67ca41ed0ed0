// Requests to the server; every error is one sentence.

export class Failed extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

export function query(parameters = {}) {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") pairs.append(name, one);
    }
  }
  const text = pairs.toString();
  return text ? `?${text}` : "";
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failed("The server does not answer: start it again with  make web", 0);
  }
  if (response.ok) return response.json();
  const body = await response.json().catch(() => ({}));
  throw new Failed(body.detail || `The server answered ${response.status}`, response.status);
}

export const get = (path, parameters) => ask(`/api/${path}${query(parameters)}`);

export const post = (path, body = {}) =>
  ask(`/api/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });

const kept = new Map();

/** What does not change while the server runs: datasets, activations, studies. */
export function once(path) {
  if (!kept.has(path)) {
    kept.set(
      path,
      get(path).catch((error) => {
        kept.delete(path);
        throw error;
      }),
    );
  }
  return kept.get(path);
}

const name = (run) => `runs/${encodeURIComponent(run)}`;
export const runs = () => get("runs");
export const details = (run) => get(name(run));
export const of = (run, what, parameters) => get(`${name(run)}/${what}`, parameters);
export const link = (run, what, parameters) => `/api/${name(run)}/${what}${query(parameters)}`;
