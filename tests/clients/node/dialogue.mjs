// A client that a test talks to: one JSON document per line, on stdin and stdout.

import { createInterface } from "node:readline";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

export const say = (document) => process.stdout.write(`${JSON.stringify(document)}\n`);

export const hear = async () => JSON.parse((await lines.next()).value);

// Where the browser is sent back to, after the user has seen this address.
export const browse = async (url) => {
  say({ browse: String(url) });
  return new URL((await hear()).callback);
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
