// openid-client: a client that authenticates with an assertion (private_key_jwt), and presents a token with proofs (DPoP).
//
// Given: {"issuer", "client": {"id", "key": a private JWK}, "resource": an API's address}

import * as client from "openid-client";
import { main, privateKey } from "./dialogue.mjs";

await main(async (given) => {
  const authentication = client.PrivateKeyJwt({ key: await privateKey(given.client.key), kid: given.client.key.kid });
  const issuer = new URL(given.issuer);
  const config = await client.discovery(issuer, given.client.id, undefined, authentication, { algorithm: "oauth2" });
  const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair("ES256"));
  const tokens = await client.clientCredentialsGrant(config, { scope: "email" }, { DPoP });
  const get = async () => {
    const resource = new URL(given.resource);
    const response = await client.fetchProtectedResource(config, tokens.access_token, resource, "GET", null, undefined, { DPoP });
    return response.status;
  };
  const statuses = [await get(), await get()];
  const headers = { authorization: `Bearer ${tokens.access_token}` };
  const stolen = await fetch(given.resource, { headers });
  return { type: tokens.token_type.toLowerCase(), statuses, stolen: stolen.status };
});
