// Certificates with their expiry, as the listeners of this node present them.

import { address, call, read } from "./api.js";
import { element, link, show, table, time } from "./dom.js";
import { parse } from "./metrics.js";
import { nameOf } from "./model.js";

/** Days. */
const SOON = 30;

export async function certificates(main) {
  const metrics = parse(await read("/metrics")).get("tollgate_certificate_expiry_timestamp_seconds") ?? [];
  const { data } = await call("GET", "/certificates?size=1000");
  const rows = metrics.sort((one, other) => one.value - other.value).map(({ labels: { name }, value }) => {
    // The metric names a certificate by its first server name.
    const entity = data.find((known) => known.snis?.includes(name));
    return [entity ? link(nameOf(entity), address("certificates", entity.id)) : name, time(value), ...remaining(value)];
  });
  show(main, element("h1", { tabindex: "-1" }, "Certificate expiry"),
    table("Certificates, those that expire first on top", ["Name", "Expires", "Days left", "State"], rows));
}

function remaining(expires) {
  const days = Math.floor((expires - Date.now() / 1000) / 86_400);
  return [String(days), days < 0 ? "✗ expired" : days < SOON ? "! expires soon" : "✓ valid"];
}
