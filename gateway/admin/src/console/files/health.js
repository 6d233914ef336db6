// The health of upstreams' targets, as this node knows it.

import { address, call } from "./api.js";
import { button, element, guarded, link, say, show, table } from "./dom.js";

/** How many upstreams are read at once: each takes two requests. */
const PAGE = 25;

const WORDS = { HEALTHY: "✓ healthy", UNHEALTHY: "✗ unhealthy", HEALTHCHECKS_OFF: "– not checked", DNS_ERROR: "✗ no address" };

export async function health(main, { signal }) {
  const holder = element("div", {});
  let next;
  const load = async () => {
    const page = await call("GET", next);
    for (const upstream of page.data) {
      const shown = await section(upstream);
      if (signal.aborted) return;
      holder.append(shown);
    }
    next = page.next;
    more.hidden = !next;
  };
  const more = button("Load more", guarded(load));
  const again = async () => {
    holder.replaceChildren();
    next = `/upstreams?size=${PAGE}`;
    await load();
    say(holder.childElementCount ? "Read." : "There are no upstreams.");
  };
  show(main, element("h1", { tabindex: "-1" }, "Upstream health"),
    element("p", {}, "As this node knows it: each node makes its own checks."),
    element("p", { class: "actions" }, button("Read again", guarded(again))), holder, more);
  await again();
}

async function section(upstream) {
  const path = address("upstreams", upstream.id);
  const [whole, targets] = await Promise.all([call("GET", `${path}/health?balancer_health=1`), call("GET", `${path}/health?size=1000`)]);
  const word = (state) => WORDS[state] ?? state;
  const rows = targets.data.map(({ target, health: state, weight, data }) =>
    [target, word(state), weight, data?.addresses?.map((one) => `${one.ip}:${one.port} ${word(one.health)}`).join("; ")]);
  return element("section", {},
    element("h2", {}, link(upstream.name, path), ` ${whole.data ? word(whole.data.health) : "unknown to this node"}`),
    rows.length ? table(`Targets of ${upstream.name}`, ["Target", "Health", "Weight", "Addresses"], rows) : element("p", {}, "It has no targets."));
}
