// The form of an entity, made from its schema.

import { several } from "./control.js";
import { element, warn } from "./dom.js";
import { referred } from "./model.js";

/** Fields that the gateway fills in by itself, and those that can only be null. */
const isFixed = (field) => field.uuid || field.timestamp || "eq" in field || field.abstract;

/**
 * A form for what is stored, or for something new if that is null. The caller adds buttons to `node`. `save(changes)`
 * gets what differs from what is stored or from the defaults; what it throws is shown beside the fields.
 */
export async function form(fields, stored, save) {
  const shown = fields.filter((field) => !isFixed(field));
  const controls = several(shown, stored, "field", await referred(shown));
  const general = element("p", { class: "error" });
  let busy = false;
  const refused = ({ message, code, fields: found }) => {
    const rest = Object.values(controls.show(code === TAKEN ? taken(found) : found ?? {})).map((error) => [error].flat().join("; "));
    general.textContent = rest.join("; ") || (found ? "" : message);
    point(message);
  };
  const onsubmit = async (event) => {
    event.preventDefault();
    if (busy) return;
    busy = true;
    controls.show({});
    general.textContent = "";
    try {
      await save(controls.patch() ?? {});
    } catch (failure) {
      // Without a status it is what was typed that cannot be read, which its control shows.
      if (failure.status === undefined) point(failure.message);
      else refused(failure);
    }
    busy = false;
  };
  /** Goes to the input of the first error. */
  const point = (message) => {
    warn(message);
    const fault = [...node.querySelectorAll(".error")].find((error) => error.textContent);
    fault?.parentElement.querySelector("input, select, textarea")?.focus();
  };
  const node = element("form", { novalidate: true, onsubmit }, general, controls.nodes);
  return node;
}

/** The code of a unique value that another entity has: the response names the value, not the fault. */
const TAKEN = 5;
const taken = (found) => Object.fromEntries(Object.entries(found).filter(([, value]) => value !== null)
  .map(([name]) => [name, "Another entity has this value already."]));
