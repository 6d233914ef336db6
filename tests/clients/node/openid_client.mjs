// openid-client: discovery, PKCE code flow, refresh, introspection as a resource server, revocation.
//
// Given: {"issuer", "redirect_uri", "method": "basic" | "post", "client": {"id", "secret"}, "resource_server": {...},
//         "resource": an API's address}

import * as client from "openid-client";
import { browse, main } from "./dialogue.mjs";

const discovered = (given, { id, secret }) => {
  const method = given.method === "basic" ? client.ClientSecretBasic(secret) : client.ClientSecretPost(secret);
  return client.discovery(new URL(given.issuer), id, undefined, method, { algorithm: "oauth2" });
};

await main(async (given) => {
  const config = await discovered(given, given.client);
  const verifier = client.randomPKCECodeVerifier();
  const state = client.randomState();
  const address = client.buildAuthorizationUrl(config, {
    redirect_uri: given.redirect_uri,
    scope: "email",
    state,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
  });
  const checks = { pkceCodeVerifier: verifier, expectedState: state };
  const first = await client.authorizationCodeGrant(config, await browse(address), checks);
  const tokens = await client.refreshTokenGrant(config, first.refresh_token);
  const get = async () => {
    const response = await fetch(given.resource, { headers: { authorization: `Bearer ${tokens.access_token}` } });
    return response.status;
  };
  const server = await discovered(given, given.resource_server);
  const introspect = async () => (await client.tokenIntrospection(server, tokens.access_token)).active;
  const before = [await get(), await introspect()];
  await client.tokenRevocation(config, tokens.refresh_token);
  return { before, after: [await get(), await introspect()] };
});
