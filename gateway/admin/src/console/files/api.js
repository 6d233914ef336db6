// Calls of the Admin API. The token is in memory only: it ends with the page, and is in no address.

import { element, guarded, labelled } from "./dom.js";

const PATIENCE = 30_000;

let token = "";

/** What the API has refused, or has not responded to. */
export class Failure extends Error {
  constructor(status, body) {
    super(body?.message ?? `The gateway responded with status ${status}.`);
    this.status = status;
    this.code = body?.code;
    this.fields = body?.fields;
  }
}

async function send(method, path, body) {
  const headers = { accept: "application/json, text/plain" };
  if (token) headers.authorization = `Bearer ${token}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const request = { method, headers, cache: "no-store", redirect: "error", signal: AbortSignal.timeout(PATIENCE) };
  if (body !== undefined) request.body = JSON.stringify(body);
  let response;
  let text;
  try {
    response = await fetch(path, request);
    text = await response.text();
  } catch {
    throw new Failure(0, { message: "The gateway does not respond. Is it running?" });
  }
  if (response.status === 401) document.dispatchEvent(new Event("signed-out"));
  if (!response.ok) throw new Failure(response.status, parsed(text));
  return text;
}

/** The JSON of a response; null if it has none. */
export const call = async (method, path, body) => parsed(await send(method, path, body));

/** The text of a response. */
export const read = (path) => send("GET", path);

function parsed(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

/** The address of something: the segments are escaped. */
export const address = (...segments) => `/${segments.map(encodeURIComponent).join("/")}`;

/** Asks for an admin token until one is accepted. */
export function signIn(main, accepted) {
  const input = element("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const error = element("p", { class: "error", role: "alert" });
  const onsubmit = guarded(async () => {
    token = input.value.trim();
    try {
      if (!/^[\x21-\x7e]+$/.test(token)) throw new Failure(401, { message: "An admin token has no such characters." });
      accepted(await call("GET", "/ui/caller"));
    } catch (failure) {
      error.textContent = failure.message;
      input.setAttribute("aria-invalid", "true");
      input.focus();
    }
  });
  const hint = "From tollgate admin-token create. The page forgets it when it is closed or loaded again.";
  main.replaceChildren(
    element("h1", { tabindex: "-1" }, "Admin token"),
    element("form", { onsubmit, novalidate: true }, labelled("Token", input, hint), error,
      element("p", { class: "actions" }, element("button", {}, "Continue"))));
  input.focus();
}
