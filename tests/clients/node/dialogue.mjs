// A client that a test talks to: one JSON document per line, on stdin and stdout.

import { once } from "node:events";
import { connect } from "node:http2";
import { createInterface } from "node:readline";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

export const say = (document) => process.stdout.write(`${JSON.stringify(document)}\n`);

export const hear = async () => JSON.parse((await lines.next()).value);

// Where the browser is sent back to, after the user has seen this address.
export const browse = async (url) => {
  say({ browse: String(url) });
  return new URL((await hear()).callback);
};

// A user has typed this code at the login page, and has agreed.
export const approve = async (userCode) => {
  say({ approve: userCode });
  await hear();
};

// fetch over HTTP/2, which Node's own does not speak.
export const fetchOverHttp2 = async (address, { method = "GET", headers = {}, body } = {}) => {
  const url = new URL(address);
  const session = connect(url.origin);
  try {
    const fields = new Headers(headers);
    if (body instanceof URLSearchParams && !fields.has("content-type")) {
      fields.set("content-type", "application/x-www-form-urlencoded;charset=UTF-8");
    }
    const path = url.pathname + url.search;
    const stream = session.request({ ":method": method, ":path": path, ...Object.fromEntries(fields) });
    stream.end(body === undefined || body === null ? undefined : String(body));
    const [head] = await once(stream, "response");
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    const received = new Headers();
    for (const [name, value] of Object.entries(head)) {
      if (!name.startsWith(":")) [value].flat().forEach((one) => received.append(name, one));
    }
    const content = Buffer.concat(chunks);
    return new Response(content.length ? content : null, { status: head[":status"], headers: received });
  } finally {
    session.close();
  }
};

// A private key for ES256 that was given as a JWK.
export const privateKey = ({ kty, crv, x, y, d }) =>
  crypto.subtle.importKey("jwk", { kty, crv, x, y, d }, { name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);

export const main = async (run) => {
  try {
    say({ outcome: await run(await hear()) });
    process.exit(0);
  } catch (error) {
    console.error(error);
    process.exit(1);
  }
};
