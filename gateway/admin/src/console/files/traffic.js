// What the node is doing, from its metrics: counters over the last minute, and states.

import { call, read } from "./api.js";
import { button, element, figures, guarded, show, table, time, warn } from "./dom.js";
import { grown, grownBy, parse, quantile, sum } from "./metrics.js";

/** Milliseconds between two readings, unless that takes more than a tenth of the time; the window. */
const EVERY = 2_000;
const SHARE = 10;
const WINDOW = 60_000;

const REQUESTS = "tollgate_requests_total";
const START = "process_start_time_seconds";
const GATEWAY = "tollgate_gateway_duration_seconds";
const BREAKER = ["closed", "waits for a probe", "open: the store is away"];

export async function traffic(main, { signal }) {
  const node = await call("GET", "/");
  const body = element("div", {});
  const period = element("p", {});
  const samples = [];
  let paused = false;
  const pause = button("Pause", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
  });
  show(main, element("h1", { tabindex: "-1" }, "Live traffic"), element("p", { class: "actions" }, pause), period, body);

  const tick = async () => {
    const begin = performance.now();
    const sample = parse(await read("/metrics"));
    const now = performance.now();
    warn("");
    // A node that was started again counts from 0.
    if (samples.length && sum(samples[0].sample, START) !== sum(sample, START)) samples.length = 0;
    samples.push({ now, sample });
    while (now - samples[0].now > WINDOW) samples.shift();
    const [first] = samples.length > 1 ? samples : [];
    const seconds = first ? (now - first.now) / 1000 : Date.now() / 1000 - sum(sample, START);
    period.textContent = first ? `The last ${Math.round(seconds)} seconds:` : "Since the node started:";
    draw(body, first?.sample, sample, seconds, node);
    return Math.max(EVERY, SHARE * (now - begin));
  };
  const loop = async () => {
    while (!signal.aborted) {
      const wait = paused || document.hidden ? EVERY / 4 : await guarded(tick)();
      await new Promise((resolve) => { setTimeout(resolve, wait ?? EVERY); });
    }
  };
  await tick();
  setTimeout(loop, EVERY);
}

const number = (value, digits = 0) => (value === null ? "–" : value.toLocaleString(undefined, { maximumFractionDigits: digits }));
const percent = (part, whole) => (whole > 0 ? `${number((100 * part) / whole, 1)} %` : "–");

function duration(seconds) {
  if (seconds === null) return "–";
  if (seconds > 0 && seconds < 0.001) return `${number(seconds * 1e6)} µs`;
  return seconds < 1 ? `${number(seconds * 1000, 1)} ms` : `${number(seconds, 1)} s`;
}

function draw(body, before, after, seconds, node) {
  const codes = [...grownBy(before, after, REQUESTS, "code")].sort();
  const requests = (digit) => codes.filter(([code]) => code.startsWith(digit)).reduce((total, [, count]) => total + count, 0);
  const times = (name) => [0.5, 0.99].map((q) => duration(quantile(q, before, after, name))).join(" / ");
  const [hits, misses, shared] = ["hit", "miss", "coalesced"].map((result) => grown(before, after, "tollgate_token_lookups_total", (labels) => labels.result === result));
  const lookUps = hits + misses + shared;
  const state = (name, wanted) => sum(after, name, wanted);
  const connections = (is) => number(state("tollgate_store_pool_connections", (labels) => labels.state === is));
  const section = (title, pairs) => element("section", {}, element("h2", {}, title), figures(pairs));
  show(body,
    section("Requests", [["Per second", number(requests("") / seconds, 1)], ["Requests", number(requests(""))],
      ...["2", "3", "4", "5"].map((digit) => [`Status ${digit}xx`, number(requests(digit))]),
      ["Open connections", number(state("tollgate_connections_open"))]]),
    section("Latency: p50 / p99", [["Gateway", times(GATEWAY)], ["Upstream", times("tollgate_upstream_duration_seconds")]]),
    section("Tokens", [["Look-ups per second", number(lookUps / seconds, 1)], ["Hit ratio", percent(hits, lookUps)],
      ["Misses", number(misses)], ["Cached tokens", number(state("tollgate_token_cache_entries"))],
      ["Revocation lag p50 / p99", times("tollgate_revocation_lag_seconds")]]),
    section("Store", [["Responds", state("tollgate_store_up") === 1 ? "✓ yes" : "✗ no"], ["Kind", node.configuration.database],
      ["Breaker", BREAKER[state("tollgate_store_breaker_state")]], ["Outage", duration(state("tollgate_store_outage_seconds"))],
      ["Age of what is cached", duration(state("tollgate_feed_age_seconds"))],
      ["Connections in use / idle", `${connections("in_use")} / ${connections("idle")}`], ["Waiting", connections("waiting")]]),
    section("Node", [["Host", node.hostname], ["Id", node.node_id], ["Version", after.get("tollgate_build_info")?.[0].labels.version],
      ["Since", time(state(START))], ["Draining", state("tollgate_draining") === 1 ? "! yes" : "no"],
      ["Memory", `${number(state("process_resident_memory_bytes") / 2 ** 20)} MiB`],
      ["CPU", before ? percent(grown(before, after, "process_cpu_seconds_total"), seconds) : "–"]]),
    element("p", { class: "hint" }, "Each node shows itself, at /ui of its own Admin API."),
    requests("") ? [
      table("Busiest routes", ["Route", "Per second", "5xx", "Gateway p99"], busiest(before, after, seconds)),
      table("Requests by status", ["Status", "Requests"], codes.filter(([, count]) => count).map(([code, count]) => [code, number(count)])),
    ] : null);
}

function busiest(before, after, seconds) {
  const counts = [...grownBy(before, after, REQUESTS, "route")].filter(([, count]) => count > 0);
  return counts.sort(([, one], [, other]) => other - one).slice(0, 10).map(([route, count]) => {
    const isOf = (labels) => labels.route === route;
    const failed = grown(before, after, REQUESTS, (labels) => isOf(labels) && labels.code >= "500");
    return [route || "no route", number(count / seconds, 1), percent(failed, count), duration(quantile(0.99, before, after, GATEWAY, isOf))];
  });
}
