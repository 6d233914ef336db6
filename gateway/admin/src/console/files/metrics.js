// Reads metrics in Prometheus' text format, and computes what the page shows from two samples.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const ESCAPED = { "\\n": "\n", '\\"': '"', "\\\\": "\\" };

/** Series by name: `[{labels, value}]`. */
export function parse(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    const [, name, labels, value] = line.match(LINE) ?? [];
    if (!name) continue;
    if (!found.has(name)) found.set(name, []);
    found.get(name).push({ labels: labels ? read(labels) : {}, value: Number(value.replace("Inf", "Infinity")) });
  }
  return found;
}

function read(labels) {
  const pairs = [...labels.matchAll(LABEL)].map(([, name, value]) => [name, value.replace(/\\./g, (pair) => ESCAPED[pair] ?? pair)]);
  return Object.fromEntries(pairs);
}

/** The sum of a name's series; null if there are none. */
export function sum(sample, name, wanted = () => true) {
  const series = sample?.get(name)?.filter(({ labels }) => wanted(labels));
  return series?.length ? series.reduce((total, { value }) => total + value, 0) : null;
}

/** How much a counter has grown since an earlier sample, or since the start if there is none. */
export const grown = (before, after, name, wanted) => (sum(after, name, wanted) ?? 0) - (sum(before, name, wanted) ?? 0);

/** The same for each value of a label. */
export function grownBy(before, after, name, label) {
  const values = new Set((after.get(name) ?? []).map(({ labels }) => labels[label]));
  return new Map([...values].map((value) => [value, grown(before, after, name, (labels) => labels[label] === value)]));
}

/** A quantile of what a histogram has counted since, in its unit; null if that is nothing. Linear within a bucket, as Prometheus has it. */
export function quantile(q, before, after, name, wanted = () => true) {
  const bounds = new Map();
  for (const [sample, sign] of [[after, 1], [before, -1]]) {
    for (const { labels, value } of sample?.get(`${name}_bucket`) ?? []) {
      if (!wanted(labels)) continue;
      const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
      bounds.set(bound, (bounds.get(bound) ?? 0) + sign * value);
    }
  }
  const buckets = [...bounds].sort(([one], [other]) => one - other);
  const total = buckets.at(-1)?.[1] ?? 0;
  if (total <= 0) return null;
  const rank = q * total;
  const index = buckets.findIndex(([, count]) => count >= rank);
  const [low, below] = index > 0 ? buckets[index - 1] : [0, 0];
  const [high, count] = buckets[index];
  if (high === Infinity) return low;
  return low + ((high - low) * (rank - below)) / (count - below || 1);
}
