// A list of entities: loaded page by page, searched in what is loaded.

import { address, call } from "./api.js";
import { button, element, guarded, labelled, link, say, show, table } from "./dom.js";
import { columnsOf, fieldsOf, label, nameOf, pathOf, referred } from "./model.js";

/** How many entities are read at once and shown, and how many for a search. */
const PAGE = 200;
const READ = 5000;

export async function list(main, { place, caller, navigate, signal }) {
  const { kind, collection, parent } = place;
  const fields = await fieldsOf(kind);
  const columns = columnsOf(kind, fields);
  const names = await referred(columns);
  const loaded = [];
  let next = `${collection}?size=${PAGE}`;
  const secrets = fields.filter((field) => field.encrypted).map((field) => field.name);

  /** What a search looks at: everything but secrets. */
  const words = (entity) => JSON.stringify(entity, (name, value) => (secrets.includes(name) || name === "config" ? undefined : value)).toLowerCase();
  const search = element("input", { id: "search", type: "search", autocomplete: "off", spellcheck: "false" });
  const more = button("Load more", guarded(() => fill(loaded.length + READ)));
  const shown = element("div", {});
  const count = element("p", { role: "status", class: "count" });

  const matching = () => loaded.filter((entity) => words(entity).includes(search.value.trim().toLowerCase()));
  const draw = () => {
    const found = matching();
    const rows = found.slice(0, PAGE).map((entity) => [
      link(nameOf(entity), pathOf(kind, entity, collection)), ...columns.map((column) => cell(entity[column.name], column, names))]);
    show(shown, rows.length ? table(label(kind), ["Name", ...columns.map((column) => column.name)], rows) : null);
    const some = found.length > PAGE ? `, the first ${PAGE} shown` : "";
    count.textContent = `${found.length} found${some}${next ? `; there are more than the ${loaded.length} loaded` : ""}.`;
    more.hidden = !next;
  };
  const load = async (upTo) => {
    const wanted = () => loaded.length < upTo && (loaded.length === 0 || matching().length < PAGE);
    while (next && wanted() && !signal.aborted) {
      const page = await call("GET", next);
      loaded.push(...page.data);
      next = page.next;
    }
    draw();
  };
  // One after the other: each goes on where the last one has ended.
  let last = Promise.resolve();
  const fill = (upTo) => {
    last = last.catch(() => null).then(() => load(upTo));
    return last;
  };

  let waiting;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(guarded(() => fill(READ)), 200);
  });
  // Secrets never get into an address, so what has a secret key is not looked up by it.
  const isOpen = !fields.some((field) => field.unique && field.encrypted);
  const open = guarded(async () => {
    const key = search.value.trim();
    if (!key || (!isOpen && !/^[0-9a-f-]{36}$/i.test(key))) return;
    const found = await call("GET", `${collection}/${encodeURIComponent(key)}`).catch(() => null);
    if (found) navigate(pathOf(kind, found, collection));
    else say(`None has exactly the name or id ${key}.`);
  });
  const title = parent ? `${label(kind)} of ${label(parent.kind, "one")} ${await parentName(parent, place)}` : label(kind);
  show(main,
    element("h1", { tabindex: "-1" }, title),
    caller.writes ? element("p", { class: "actions" }, link(`New ${label(kind, "one")}`, `${collection}/new`, { class: "button" })) : null,
    element("form", { role: "search", onsubmit: open }, labelled("Search", search, "Enter opens what has exactly this name or id.")),
    count, shown, more);
  await fill(1);
}

async function parentName(parent, { collection }) {
  const path = collection.split("/").slice(0, 3).join("/");
  return nameOf(await call("GET", path).catch(() => ({ id: parent.key })));
}

/** A value in a list. References are links. */
function cell(value, column, names) {
  if (value === null || value === undefined) return null;
  if (column.type === "foreign") {
    const name = names.get(column.reference)?.get(value.id) ?? value.id.slice(0, 8);
    return link(name, pathOf(column.reference, value, address(column.reference)));
  }
  return Array.isArray(value) ? value.join(", ") : String(value);
}
