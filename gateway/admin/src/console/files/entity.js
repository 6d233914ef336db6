// An entity: what it is, and the form that creates or changes it.

import { call } from "./api.js";
import { button, confirm, element, figures, guarded, link, say, show, time } from "./dom.js";
import { form } from "./form.js";
import { childrenOf, fieldsOf, label, listed, nameOf, pathOf } from "./model.js";

/** `created`: what was sent to create it just now, and the response, which alone shows generated secrets. */
export async function entity(main, context, created) {
  const { place, caller } = context;
  const stored = await call("GET", `${place.collection}/${encodeURIComponent(place.key)}`);
  const own = pathOf(place.kind, stored, place.collection);
  const what = `${label(place.kind, "one")} ${nameOf(stored)}`;
  const fields = await fieldsOf(place.kind, stored.name);
  const changeable = fields.filter((field) => place.kind !== "plugins" || field.name !== "name");
  const node = await form(changeable, stored, async (changes) => {
    if (!Object.keys(changes).length) return say("Nothing has been changed.");
    const saved = await call("PATCH", own, changes);
    await context.navigate(own);
    say(["Saved.", ...(saved.warnings ?? [])].join(" "));
  });
  const remove = guarded(async () => {
    if (!(await confirm(`Delete ${what}?`, "It counts at once, on every node, and cannot be undone.", "Delete"))) return;
    await call("DELETE", own);
    await context.navigate(place.collection);
    say(`Deleted: ${what}.`);
  });
  if (caller.writes) node.append(element("p", { class: "actions" }, element("button", {}, "Save"), button("Delete…", remove, { class: "danger" })));
  else for (const part of node.querySelectorAll("input, select, textarea, button")) part.disabled = true;
  const children = childrenOf(place.kind).map((child) => element("li", {}, link(label(child.name), `${own}/${child.segment}`)));
  show(main,
    element("h1", { tabindex: "-1" }, what),
    created ? secrets(created, fields) : null,
    caller.writes ? null : element("p", { class: "note" }, caller.reason),
    figures([["Id", stored.id], ["Created", time(stored.created_at)], ["Updated", time(stored.updated_at)]]),
    children.length ? element("nav", { "aria-label": "What belongs to it" }, element("ul", { class: "children" }, children)) : null,
    node);
}

/** The form of a new entity. That of a plugin depends on which one it is. */
export async function creation(main, { place, navigate }) {
  const holder = element("div", {});
  const draw = async (plugin) => {
    const fields = await fieldsOf(place.kind, plugin);
    const isGiven = (field) => (plugin && field.name === "name") || (place.parent && field.reference === place.parent.kind);
    const node = await form(fields.filter((field) => !isGiven(field)), null, async (changes) => {
      const made = await call("POST", place.collection, plugin ? { name: plugin, ...changes } : changes);
      await navigate(pathOf(place.kind, made, place.collection), { made, changes });
      say([`Created: ${label(place.kind, "one")} ${nameOf(made)}.`, ...(made.warnings ?? [])].join(" "));
    });
    node.append(element("p", { class: "actions" }, element("button", {}, "Create"), link("Cancel", place.collection, { class: "button" })));
    show(holder, node);
  };
  show(main, element("h1", { tabindex: "-1" }, `New ${label(place.kind, "one")}`), holder);
  if (place.kind !== "plugins") return draw();
  const { enabled_plugins: plugins } = await call("GET", "/plugins/enabled");
  const pick = element("select", { id: "plugin", onchange: guarded(() => draw(pick.value)) }, plugins.sort().map((name) => element("option", {}, name)));
  holder.before(element("p", { class: "field" }, element("label", { for: "plugin" }, "Plugin"), pick));
  return draw(pick.value);
}

/** The secrets that were generated for a new entity. */
function secrets({ made, changes }, fields) {
  const found = generated(made, changes, fields, "");
  return found.length ? element("section", { class: "secrets", "aria-labelledby": "secrets" },
    element("h2", { id: "secrets" }, "Keep these now: the console does not show them again"),
    figures(found.map(([name, value]) => [name, element("code", {}, value)]))) : null;
}

function generated(made, given, fields, path) {
  return fields.flatMap((field) => {
    const [value, sent] = [made[field.name], given?.[field.name]];
    if (field.encrypted && typeof value === "string" && !sent) return [[path + field.name, value]];
    return field.fields && value ? generated(value, sent, listed(field.fields), `${path}${field.name}.`) : [];
  });
}
