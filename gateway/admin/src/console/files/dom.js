// Elements, notices and the dialog. Text is inserted as text, so it is never markup, whatever it contains.

/** An element: `on…` properties are listeners, `value` and `checked` properties, all others attributes. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "value" || key === "checked") made[key] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...present(children));
  return made;
}

const present = (children) => children.flat(3).filter((child) => child !== null && child !== undefined);

/** Replaces what an element contains. */
export const show = (parent, ...children) => parent.replaceChildren(...present(children));

export const button = (text, onclick, properties = {}) => element("button", { type: "button", onclick, ...properties }, text);
export const link = (text, path, properties = {}) => element("a", { href: `#${path}`, ...properties }, text);

/** A table that can be scrolled with the keyboard. The rows are lists of cells; the first cell names its row. */
export function table(caption, columns, rows) {
  const cell = (content, index) => element(index === 0 ? "th" : "td", index === 0 ? { scope: "row" } : {}, content ?? "–");
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    element("table", {},
      element("caption", {}, caption),
      element("thead", {}, element("tr", {}, columns.map((column) => element("th", { scope: "col" }, column)))),
      element("tbody", {}, rows.map((row) => element("tr", {}, row.map(cell))))));
}

/** Names with values. */
export const figures = (pairs) => element("dl", { class: "figures" },
  pairs.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));

/** A labelled input, with a hint below it. */
export function labelled(text, input, hint) {
  if (hint) input.setAttribute("aria-describedby", `${input.id}-hint`);
  return element("p", { class: "field" }, element("label", { for: input.id }, text), input,
    hint ? element("span", { class: "hint", id: `${input.id}-hint` }, hint) : null);
}

/** What has been done; said by screen readers when they have finished. */
export function say(text) {
  document.getElementById("alert").textContent = "";
  document.getElementById("status").textContent = text;
}

/** What has gone wrong; said by screen readers at once. */
export function warn(text) {
  document.getElementById("status").textContent = "";
  document.getElementById("alert").textContent = text;
}

/** Runs a handler; what it throws is shown. */
export const guarded = (work) => async (event) => {
  event?.preventDefault();
  try {
    return await work(event);
  } catch (failure) {
    return warn(failure.message);
  }
};

/** Asks in the dialog. Escape and the first button are no. */
export function confirm(title, text, yes) {
  const dialog = document.getElementById("dialog");
  document.getElementById("dialog-title").textContent = title;
  document.getElementById("dialog-text").textContent = text;
  document.getElementById("dialog-yes").textContent = yes;
  document.getElementById("dialog-no").onclick = () => dialog.close("no");
  document.getElementById("dialog-yes").onclick = () => dialog.close("yes");
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/** A Unix time in seconds. */
export const time = (seconds) => (seconds ? new Date(seconds * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" }) : "–");
