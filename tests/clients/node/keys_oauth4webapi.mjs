// oauth4webapi: the same as keys_openid_client.mjs, step by step.

import * as oauth from "oauth4webapi";
import { main, privateKey } from "./dialogue.mjs";

await main(async (given) => {
  const issuer = new URL(given.issuer);
  const found = await oauth.discoveryRequest(issuer, { algorithm: "oauth2" });
  const as = await oauth.processDiscoveryResponse(issuer, found);
  const client = { client_id: given.client.id };
  const authentication = oauth.PrivateKeyJwt({ key: await privateKey(given.client.key), kid: given.client.key.kid });
  const DPoP = oauth.DPoP(client, await oauth.generateKeyPair("ES256"));
  // A server that requires nonces gives one out with its refusal.
  const withNonce = async (request) => {
    try {
      return await request();
    } catch (error) {
      if (!oauth.isDPoPNonceError(error)) throw error;
      return await request();
    }
  };
  const tokens = await withNonce(async () => {
    const form = new URLSearchParams({ scope: "email" });
    const issued = await oauth.clientCredentialsGrantRequest(as, client, authentication, form, { DPoP });
    return await oauth.processClientCredentialsResponse(as, client, issued);
  });
  const get = () =>
    oauth.protectedResourceRequest(tokens.access_token, "GET", new URL(given.resource), undefined, undefined, { DPoP });
  const statuses = [(await withNonce(get)).status, (await withNonce(get)).status];
  const headers = { authorization: `Bearer ${tokens.access_token}` };
  const stolen = await fetch(given.resource, { headers });
  return { type: tokens.token_type.toLowerCase(), statuses, stolen: stolen.status };
});
