// The frame of the page: who calls, the navigation, and which view an address shows.
//
// An address is a path after `#`: that of a view, or that of the Admin API for a list, an entity or, with `new` at the
// end, a new one.

import { call, signIn } from "./api.js";
import { certificates } from "./certificates.js";
import { element, link, show, warn } from "./dom.js";
import { creation, entity } from "./entity.js";
import { health } from "./health.js";
import { list } from "./list.js";
import { allKinds, label, load, place } from "./model.js";
import { tokens } from "./tokens.js";
import { traffic } from "./traffic.js";

const VIEWS = new Map([
  ["/", ["Live traffic", traffic]],
  ["/tokens", ["Tokens", tokens]],
  ["/health", ["Upstream health", health]],
  ["/expiry", ["Certificate expiry", certificates]],
]);

/** Kinds that have a view of their own. */
const ELSEWHERE = ["oauth2_tokens"];

const main = document.getElementById("main");
let caller = null;
let current = new AbortController();

const here = () => (location.hash.startsWith("#/") ? location.hash.slice(1) : "/");

/** Shows what an address names. `created`: what has just been created there. */
async function draw(path, created) {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  mark(path);
  document.getElementById("status").textContent = "";
  document.getElementById("alert").textContent = "";
  // A view that is left goes on filling what is no longer shown.
  const shown = element("div", {});
  try {
    await view(path)(shown, signal, created);
  } catch (failure) {
    if (failure.status === 401 || signal.aborted) return;
    failed(shown, failure);
  }
  if (signal.aborted) return;
  main.replaceChildren(shown);
  const title = shown.querySelector("h1");
  document.title = `${title.textContent} – Tollgate`;
  title.focus();
  window.scrollTo(0, 0);
}

function failed(shown, failure) {
  show(shown, element("h1", { tabindex: "-1" }, "This did not work"), element("p", {}, failure.message));
  warn(failure.message);
}

function view(path) {
  const found = VIEWS.get(path);
  if (found) return (shown, signal) => found[1](shown, { caller, signal });
  const segments = path.split("/").filter(Boolean).map(decodeURIComponent);
  const at = place(segments);
  if (!at) throw new Error(`The console has nothing at ${path}.`);
  const shows = at.key === undefined ? list : at.key === "new" && caller.writes ? creation : entity;
  return (shown, signal, created) => shows(shown, { place: at, caller, navigate, signal }, created);
}

async function navigate(path, created) {
  if (here() !== path) history.pushState(null, "", `#${path}`);
  await draw(path, created);
}

function navigation() {
  const items = [...VIEWS].map(([path, [name]]) => [name, path]);
  const entities = allKinds().filter((kind) => !ELSEWHERE.includes(kind.name)).map((kind) => [label(kind.name), `/${kind.segment}`]);
  const entries = (list) => element("ul", {}, list.map(([name, path]) => element("li", {}, link(name, path))));
  show(document.getElementById("nav"), entries(items), element("h2", {}, "Entities"), entries(entities));
}

function mark(path) {
  for (const entry of document.querySelectorAll("#nav a")) {
    const target = entry.getAttribute("href").slice(1);
    const isHere = target === path || (target !== "/" && path.startsWith(`${target}/`));
    if (isHere) entry.setAttribute("aria-current", "page");
    else entry.removeAttribute("aria-current");
  }
}

/** Begins with a caller that the API knows. */
async function begin(known) {
  const isFile = known.configuration === "file";
  caller = {
    writes: known.role === "write" && !isFile,
    revokes: known.role === "write",
    reason: isFile ? "The configuration comes from a file, so it is not changed here." : "The role of this admin token is read: it changes nothing.",
  };
  document.getElementById("caller").textContent = `${known.name}, ${known.role}${isFile ? ", configuration from a file" : ""}, on ${known.node.hostname}`;
  await load();
  navigation();
  await draw(here());
}

function askForToken() {
  if (document.getElementById("token")) return;
  current.abort();
  caller = null;
  document.getElementById("nav").replaceChildren();
  document.getElementById("caller").textContent = "";
  document.title = "Admin token – Tollgate";
  signIn(main, begin);
}

document.addEventListener("signed-out", askForToken);
window.addEventListener("popstate", () => caller && draw(here()));
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

try {
  await begin(await call("GET", "/ui/caller"));
} catch (failure) {
  if (failure.status !== 401) failed(main, failure);
}
