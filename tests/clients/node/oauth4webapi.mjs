// oauth4webapi: the same as openid_client.mjs, step by step.

import * as oauth from "oauth4webapi";
import { browse, main } from "./dialogue.mjs";

await main(async (given) => {
  const issuer = new URL(given.issuer);
  const found = await oauth.discoveryRequest(issuer, { algorithm: "oauth2" });
  const as = await oauth.processDiscoveryResponse(issuer, found);
  const authentication = (secret) =>
    given.method === "basic" ? oauth.ClientSecretBasic(secret) : oauth.ClientSecretPost(secret);
  const client = { client_id: given.client.id };
  const own = authentication(given.client.secret);

  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const address = new URL(as.authorization_endpoint);
  address.search = new URLSearchParams({
    client_id: client.client_id,
    redirect_uri: given.redirect_uri,
    response_type: "code",
    scope: "email",
    state,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
  });
  const callback = oauth.validateAuthResponse(as, client, await browse(address), state);
  const exchanged = await oauth.authorizationCodeGrantRequest(as, client, own, callback, given.redirect_uri, verifier);
  const first = await oauth.processAuthorizationCodeResponse(as, client, exchanged);
  const refreshed = await oauth.refreshTokenGrantRequest(as, client, own, first.refresh_token);
  const tokens = await oauth.processRefreshTokenResponse(as, client, refreshed);

  const get = async () => {
    try {
      const response = await oauth.protectedResourceRequest(tokens.access_token, "GET", new URL(given.resource));
      return response.status;
    } catch (error) {
      if (error instanceof oauth.WWWAuthenticateChallengeError) return error.status;
      throw error;
    }
  };
  const server = { client_id: given.resource_server.id };
  const theirs = authentication(given.resource_server.secret);
  const introspect = async () => {
    const response = await oauth.introspectionRequest(as, server, theirs, tokens.access_token);
    return (await oauth.processIntrospectionResponse(as, server, response)).active;
  };
  const before = [await get(), await introspect()];
  await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, own, tokens.refresh_token));
  return { before, after: [await get(), await introspect()] };
});
