// Tokens: what becomes of one, and those that were issued, by their last characters. A token is sent in a body, is never
// part of an address, and is forgotten with the page.

import { address, call } from "./api.js";
import { button, confirm, element, figures, guarded, labelled, link, say, show, table, time } from "./dom.js";
import { namesOf } from "./model.js";

/** How many tokens one search reads. */
const READ = 10_000;

const VERDICTS = { accepted: "✓ accepted", refused: "✗ refused", cannot_tell: "? cannot tell" };

const input = (id, properties) => element("input", { id, autocomplete: "off", spellcheck: "false", ...properties });

export async function tokens(main, context) {
  const routes = await namesOf("routes");
  const [route, token, hint, client] = [input("route", { list: "routes" }), input("pasted", { type: "password" }), input("hint"), input("client")];
  const explained = element("div", { id: "explanation" });
  const found = element("div", { id: "found" });
  const search = guarded(() => find(found, hint.value.trim(), client.value.trim(), context));
  const explain = guarded(async () => {
    explained.replaceChildren();
    const told = await call("POST", "/oauth2_tokens/explain", { route: route.value.trim(), token: token.value.trim() });
    const look = () => {
      hint.value = told.token.hint;
      client.value = told.token.credential?.client_id ?? "";
      hint.focus();
      return search();
    };
    show(explained, explanation(told), told.token?.hint ? button("Find it among those issued", look) : null);
    say(`The token is ${told.verdict.replace("_", " ")}.`);
  });
  const submit = (text) => element("p", { class: "actions" }, element("button", {}, text));
  show(main,
    element("h1", { tabindex: "-1" }, "Tokens"),
    element("h2", {}, "What becomes of a token"),
    element("form", { onsubmit: explain },
      labelled("Route", route, "Name or id."),
      element("datalist", { id: "routes" }, [...routes.values()].map((name) => element("option", { value: name }))),
      labelled("Token", token, "The gateway keeps no copy, and changes nothing."), submit("Explain")),
    explained,
    element("h2", {}, "Tokens that were issued"),
    element("form", { onsubmit: search },
      labelled("Hint", hint, "The last characters of the token, as in the logs."),
      labelled("Client", client, "A client_id, for a shorter search."), submit("Find")),
    found);
}

function explanation(told) {
  const token = told.token ?? {};
  const facts = [
    ["Hint", token.hint], ["Client", token.credential?.client_id], ["Consumer", token.consumer?.username], ["Scope", token.scope],
    ["User", token.authenticated_userid], ["Age in seconds", token.age_seconds], ["Found in", told.from], ["By node", told.node.hostname],
  ];
  return [
    element("p", {}, VERDICTS[told.verdict], told.status ? ` with ${told.status} ${told.reason}` : ""),
    figures(facts.filter(([, value]) => value !== null && value !== undefined)),
    table("Checks, in order", ["Check", "Plugin", "Verdict", "Why"], told.checks.map((one) => [one.check, one.plugin, one.verdict, one.detail])),
    told.not_run.length ? element("p", { class: "hint" }, `Not run: ${told.not_run.join(", ")}.`) : null,
  ];
}

/** Lists the tokens with this hint. Their number has no bound, so a search ends, and goes on if it is told to. */
async function find(found, hint, client, { caller, signal }) {
  const rows = new Map();
  let read = 0;
  let next = `${client ? address("oauth2", client, "oauth2_tokens") : "/oauth2_tokens"}?size=1000`;
  const draw = () => show(found,
    element("p", { role: "status" }, `${rows.size} of ${read} tokens end in ${hint}${next ? "; there are more" : ""}.`),
    rows.size ? table("Tokens", ["Hint", "Client", "User", "Scope", "Issued", "Expires", ...(caller.revokes ? ["Revoke"] : [])], [...rows.values()]) : null,
    next ? button("Search on", guarded(go)) : null);
  const revoke = (token) => guarded(async () => {
    if (!(await confirm(`Revoke the token …${token.token_hint}?`, "It is refused from now on, on every node, like its refresh token.", "Revoke"))) return;
    await call("DELETE", address("oauth2_tokens", token.id));
    rows.delete(token.id);
    draw();
    say(`Revoked: …${token.token_hint}.`);
    document.getElementById("hint").focus();
  });
  const go = async () => {
    for (const end = read + READ; next && read < end && !signal.aborted;) {
      const page = await call("GET", next);
      read += page.data.length;
      next = page.next;
      for (const token of page.data.filter((one) => one.token_hint?.endsWith(hint))) {
        const name = `…${token.token_hint}`;
        const expires = token.expires_in > 0 ? time(token.created_at + token.expires_in) : "never";
        const row = [name, link("credential", address("oauth2", token.credential.id)), token.authenticated_userid, token.scope, time(token.created_at), expires];
        if (caller.revokes) row.push(button("Revoke…", revoke(token), { class: "danger", "aria-label": `Revoke ${name}` }));
        rows.set(token.id, row);
      }
    }
    draw();
  };
  await go();
}
