// One control for each field of a schema, by its type.
//
// A control has `node`; `patch()`, what a PATCH has of it, undefined if nothing was changed; `value()`, the whole;
// `show(error)`, which shows an error of the API beside it. Stored secrets are not shown: their controls are empty, and
// stay what they are unless something is typed.

import { button, element } from "./dom.js";
import { kindNamed, listed } from "./model.js";

/** The control of a field. `names`: names of entities by kind and id, for references. */
export function control(field, value, id, names) {
  const initial = value ?? null;
  const made = builder(field)(field, initial, id, names);
  const patched = () => made.patch() ?? (made.patch() === undefined ? initial : null);
  return { value: patched, ...made };
}

function builder({ type, one_of: options, elements, ...field }) {
  const isScalar = (name) => ["string", "integer", "number"].includes(name);
  if (type === "boolean" || options) return choice;
  if (isScalar(type)) return text;
  if (type === "foreign" && kindNamed(field.reference)) return reference;
  if (type === "record" && field.fields) return record;
  if (type === "map" && field.values) return rows;
  if (!["array", "set"].includes(type)) return json;
  if (elements.one_of) return checks;
  return isScalar(elements.type) ? lines : rows;
}

/** A field with one input. `parse`: what a text that was changed means; `remark`: more of the hint. */
function single(field, initial, id, input, parse, remark) {
  const needed = field.required && initial === null;
  const hints = [
    field.description, remark, field.between && `From ${field.between[0]} to ${field.between[1]}.`,
    field.encrypted && initial !== null && "One is stored; leave this empty to keep it.",
    field.auto && initial === null && "Leave this empty to have one generated.",
  ];
  const error = element("span", { class: "error", id: `${id}-error` });
  const state = () => (input.type === "checkbox" ? input.checked : input.value);
  const before = state();
  input.id = id;
  input.setAttribute("aria-describedby", `${id}-hint ${id}-error`);
  if (needed) input.setAttribute("aria-required", "true");
  const show = (found) => {
    error.textContent = sentence(found);
    if (error.textContent) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  };
  const patch = () => {
    try {
      return state() === before ? undefined : parse(state());
    } catch (fault) {
      show(fault.message);
      throw fault;
    }
  };
  const label = element("label", { for: id }, field.name, needed ? " (required)" : "");
  const hint = element("span", { class: "hint", id: `${id}-hint` }, hints.filter(Boolean).join(" "));
  return { node: element("div", { class: "field" }, label, input, hint, error), patch, show };
}

/** An error as text: those of a list with the numbers of its items. */
function sentence(found) {
  if (found === null || found === undefined) return "";
  if (typeof found !== "object") return String(found);
  const name = (key) => (key === "@entity" ? "" : `${Array.isArray(found) && typeof found[key] !== "object" ? Number(key) + 1 : key}: `);
  return Object.entries(found).filter(([, error]) => error).map(([key, error]) => name(key) + sentence(error)).join("; ");
}

/** A number, if it is one: otherwise the API says what it expects. */
const scalar = (type, typed) => (type === "string" || Number.isNaN(Number(typed)) ? typed : Number(typed));

const typing = { autocomplete: "off", spellcheck: "false" };

function text(field, initial, id) {
  const value = field.encrypted || initial === null ? "" : String(initial);
  const isLong = /PEM|certificate/.test(field.description) || value.includes("\n");
  const input = isLong ? element("textarea", { rows: "3", value, ...typing })
    : element("input", { type: field.encrypted ? "password" : "text", value, ...typing });
  return single(field, initial, id, input, (typed) => (typed.trim() ? scalar(field.type, typed) : null));
}

function choice(field, initial, id) {
  if (field.type === "boolean" && initial !== null) {
    return single(field, initial, id, element("input", { type: "checkbox", checked: initial }), (checked) => checked);
  }
  const options = [null, ...(field.one_of ?? [true, false])];
  const input = element("select", {}, options.map((option) => element("option", { value: JSON.stringify(option) }, String(option ?? "not set"))));
  input.value = JSON.stringify(initial);
  return single(field, initial, id, input, JSON.parse);
}

function lines(field, initial, id) {
  const items = field.encrypted ? [] : initial ?? [];
  if (items.some((item) => String(item).includes("\n"))) return json(field, initial, id);
  const input = element("textarea", { rows: String(Math.min(6, items.length + 2)), value: items.join("\n"), ...typing });
  const parse = (typed) => {
    const found = typed.split("\n").map((line) => line.trim()).filter(Boolean);
    return found.length || field.required ? found.map((line) => scalar(field.elements.type, line)) : null;
  };
  return single(field, initial, id, input, parse, "One per line.");
}

function json(field, initial, id) {
  const value = initial === null || field.encrypted ? "" : JSON.stringify(initial, null, 2);
  const input = element("textarea", { rows: "4", value, ...typing });
  return single(field, initial, id, input, (typed) => (typed.trim() ? JSON.parse(typed) : null), "In JSON.");
}

function reference(field, initial, id, names) {
  const known = names?.get(field.reference) ?? new Map();
  const value = initial === null ? "" : known.get(initial.id) ?? initial.id;
  const input = element("input", { type: "text", list: `${id}-list`, value, ...typing });
  const parse = (typed) => {
    const [found] = [...known].find(([, name]) => name === typed.trim()) ?? [typed.trim()];
    if (!found) return null;
    return /^[0-9a-f-]{36}$/i.test(found) ? { id: found } : { [field.reference === "consumers" ? "username" : "name"]: found };
  };
  const made = single(field, initial, id, input, parse, "Name or id.");
  made.node.append(element("datalist", { id: `${id}-list` }, [...known.values()].map((name) => element("option", { value: name }))));
  return made;
}

/** A group of controls. */
function group(field, id, body, patch) {
  const error = element("p", { class: "error", id: `${id}-error` });
  const node = element("fieldset", { "aria-describedby": `${id}-hint ${id}-error` }, element("legend", {}, field.name),
    element("p", { class: "hint", id: `${id}-hint` }, field.description ?? ""), error, body);
  return { node, patch, show: (found) => { error.textContent = sentence(found); } };
}

/** The controls of several fields. `show` returns the errors that belong to none of them. */
export function several(fields, values, id, names) {
  const controls = fields.map((field) => [field.name, control(field, values ? values[field.name] : field.default, `${id}-${field.name}`, names)]);
  const changed = () => controls.map(([name, made]) => [name, made, made.patch()]).filter(([, , patch]) => patch !== undefined);
  return {
    nodes: controls.map(([, made]) => made.node),
    patch: () => (changed().length ? Object.fromEntries(changed().map(([name, , patch]) => [name, patch])) : undefined),
    value: () => ({ ...values, ...Object.fromEntries(changed().map(([name, made]) => [name, made.value()])) }),
    show(found) {
      const isNamed = typeof found === "object" && !Array.isArray(found);
      for (const [name, made] of controls) made.show(isNamed ? found?.[name] : null);
      if (!isNamed) return found;
      return Object.fromEntries(Object.entries(found ?? {}).filter(([name]) => !controls.some(([known]) => known === name)));
    },
  };
}

function record(field, initial, id, names) {
  const parts = several(listed(field.fields), initial, id, names);
  const made = group(field, id, parts.nodes, parts.patch);
  const value = () => (parts.patch() === undefined ? initial : parts.value());
  return { ...made, value, show: (found) => made.show(parts.show(found)) };
}

function checks(field, initial, id) {
  const options = field.elements.one_of;
  const boxes = options.map((option) => element("input", { type: "checkbox", checked: (initial ?? []).includes(option) }));
  const chosen = () => options.filter((_, index) => boxes[index].checked);
  const before = chosen().join();
  const body = element("p", { class: "checks" }, boxes.map((box, index) => element("label", {}, box, ` ${options[index]}`)));
  return group(field, id, body, () => {
    if (chosen().join() === before) return undefined;
    return chosen().length || field.required ? chosen() : null;
  });
}

/** Items that can be added and removed: those of a map with their keys, or of a list. */
function rows(field, initial, id, names) {
  const isMap = field.type === "map";
  const list = element("div", {});
  const items = new Set();
  let count = 0;
  const add = (key, value) => {
    const name = `${id}-${count += 1}`;
    const item = control({ ...(field.values ?? field.elements), name: isMap ? "value" : `item ${count}` }, value, name, names);
    const keyed = isMap ? control({ name: "name", type: "string" }, key, `${name}-name`) : null;
    const remove = () => {
      items.delete(read);
      node.remove();
      more.focus();
    };
    const read = () => [keyed?.value() ?? "", item.value()];
    const node = element("div", { class: "item" }, keyed?.node, item.node, button(`Remove from ${field.name}`, remove));
    items.add(read);
    list.append(node);
    return node;
  };
  const more = button(`Add to ${field.name}`, () => add().querySelector("input, textarea, select")?.focus());
  for (const [key, value] of Object.entries(initial ?? {})) add(key, value);
  return group(field, id, [list, more], () => {
    const found = [...items].map((read) => read());
    const whole = isMap ? Object.fromEntries(found) : found.map(([, value]) => value);
    const now = found.length || field.required || initial ? whole : null;
    return JSON.stringify(now) === JSON.stringify(initial) ? undefined : now;
  });
}
