// What there is to show: the kinds of entities, from the API's own list of paths, and their schemas.

import { address, call } from "./api.js";

/** Paths that look like those of a kind. */
const NO_KINDS = ["cache", "schemas", "tags", "ui"];

/** Those that come first in the navigation. */
const FIRST = ["services", "routes", "plugins", "consumers", "oauth2_credentials"];

/** Columns of lists; other kinds have their first fields. */
const COLUMNS = {
  services: ["protocol", "host", "port", "enabled", "tags"],
  routes: ["service", "protocols", "hosts", "paths", "tags"],
  plugins: ["name", "service", "route", "consumer", "enabled"],
  consumers: ["custom_id", "tags"],
  oauth2_credentials: ["client_id", "consumer", "client_type", "tags"],
};

let kinds = [];
let nested = [];
const schemas = new Map();

/** Learns the kinds. */
export async function load() {
  const { data } = await call("GET", "/endpoints");
  const paths = data.map((path) => path.slice(1).split("/"));
  const variable = (segment) => segment.match(/^\{(\w+)\}$/)?.[1];
  kinds = paths.filter((path) => path.length === 2 && variable(path[1]) && !NO_KINDS.includes(path[0]))
    .map(([segment, name]) => ({ segment, name: variable(name) }));
  nested = paths.filter((path) => path.length === 4 && variable(path[3]) && kindNamed(variable(path[1])))
    .map(([, parent, segment, name]) => ({ parent: variable(parent), segment, name: variable(name) }));
  const place = (kind) => (FIRST.includes(kind.name) ? FIRST.indexOf(kind.name) : FIRST.length);
  kinds.sort((one, other) => place(one) - place(other) || one.name.localeCompare(other.name));
}

export const allKinds = () => kinds;
export const kindNamed = (name) => kinds.find((kind) => kind.name === name);
export const childrenOf = (name) => nested.filter((child) => child.parent === name);

/** "oauth2_credentials" → "OAuth2 credentials"; for one of them, "OAuth2 credential". */
export function label(name, count = "many") {
  const words = name.replaceAll("_", " ").replace(/^(acl|ca|jwt|sni)(?=s?\b)/, (word) => word.toUpperCase()).replace(/^oauth/, "OAuth");
  const spelled = words[0].toUpperCase() + words.slice(1);
  return count === "one" ? spelled.replace(/s$/, "") : spelled;
}

/**
 * The place that a path of the console names, which is that of the API: a list or an entity, perhaps below another.
 * Null: no such place.
 */
export function place(segments) {
  const [first, parent, second, last] = segments;
  const kind = kinds.find((known) => known.segment === first);
  if (!kind || segments.length > 4) return null;
  if (segments.length <= 2) return { kind: kind.name, collection: address(first), key: parent };
  const child = childrenOf(kind.name).find((known) => known.segment === second);
  if (!child) return null;
  return { kind: child.name, collection: address(first, parent, second), key: last, parent: { kind: kind.name, key: parent } };
}

/** The path of an entity: its own, or below its parent if it has no other. */
export function pathOf(kind, entity, collection) {
  const known = kindNamed(kind);
  return known ? address(known.segment, entity.id) : `${collection}/${encodeURIComponent(entity.id)}`;
}

/** What people call an entity. */
export function nameOf(entity) {
  const names = [entity.instance_name, entity.name, entity.username, entity.custom_id, entity.target, entity.group];
  return names.find(Boolean) ?? (entity.snis?.join(", ") || entity.id);
}

/** The fields of a schema's list, each with its name. */
export const listed = (fields) => fields.map((field) => ({ name: Object.keys(field)[0], ...Object.values(field)[0] }));

async function published(path) {
  if (!schemas.has(path)) schemas.set(path, (await call("GET", path)).fields);
  return listed(schemas.get(path));
}

/** The fields of a kind; for plugins, with those of the plugin in their places. */
export async function fieldsOf(kind, plugin) {
  const fields = await published(address("schemas", kind));
  if (kind !== "plugins" || !plugin) return fields;
  const own = await published(address("schemas", "plugins", plugin));
  return fields.map((field) => own.find((other) => other.name === field.name) ?? field);
}

/** The columns of a list, without secrets. */
export function columnsOf(kind, fields) {
  const short = (field) => ["string", "integer", "boolean", "foreign"].includes(field.type);
  const shown = fields.filter((field) => !field.encrypted && !field.uuid && !field.timestamp);
  const names = COLUMNS[kind] ?? shown.filter((field) => short(field) && field.name !== "name").slice(0, 4).map((field) => field.name);
  return names.map((name) => shown.find((field) => field.name === name)).filter(Boolean);
}

/** The names of entities to which these fields refer, by kind and id. */
export async function referred(fields) {
  const found = new Set(fields.filter((field) => field.type === "foreign").map((field) => field.reference));
  return new Map(await Promise.all([...found].map(async (kind) => [kind, await namesOf(kind)])));
}

/** The names of a kind's first thousand entities, by id: enough for lists and suggestions. */
export async function namesOf(kind) {
  const known = kindNamed(kind);
  const { data } = known ? await call("GET", `/${known.segment}?size=1000`) : { data: [] };
  return new Map(data.map((entity) => [entity.id, nameOf(entity)]));
}
