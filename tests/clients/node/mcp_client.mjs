// The MCP SDK's client, which knows nothing but the server's address: it finds, registers, authorizes and refreshes by
// itself.
//
// Given: {"server": the address, "redirect_uri", "client": its registration, or null to register}

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { UnauthorizedError } from "@modelcontextprotocol/sdk/client/auth.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { browse, main } from "./dialogue.mjs";

class Memory {
  constructor(given) {
    this.given = given;
    this.client = given.client ?? undefined;
    this.addresses = [];
  }

  get redirectUrl() {
    return this.given.redirect_uri;
  }

  get clientMetadata() {
    return {
      client_name: "MCP client of the tests",
      redirect_uris: [this.given.redirect_uri],
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      token_endpoint_auth_method: "none",
    };
  }

  clientInformation = () => this.client;
  saveClientInformation = (client) => void (this.client = client);
  tokens = () => this.saved;
  saveTokens = (tokens) => void (this.saved = tokens);
  codeVerifier = () => this.verifier;
  saveCodeVerifier = (verifier) => void (this.verifier = verifier);
  redirectToAuthorization = (address) => void this.addresses.push(address);
}

const whoami = async (client) => {
  const result = await client.callTool({ name: "whoami", arguments: {} });
  return JSON.parse(result.content[0].text);
};

await main(async (given) => {
  const memory = new Memory(given);
  const transport = () => new StreamableHTTPClientTransport(new URL(given.server), { authProvider: memory });
  const client = new Client({ name: "test", version: "1.0.0" });

  const first = transport();
  const refused = await client.connect(first).then(() => null, (error) => error);
  if (!(refused instanceof UnauthorizedError)) throw refused ?? new Error("the server asks for no token");
  const address = memory.addresses[0];
  const callback = await browse(address);
  await first.finishAuth(callback.searchParams.get("code"));
  await client.connect(transport());
  const before = await whoami(client);

  // An access token that is no longer accepted: the client refreshes without anybody's help.
  const { access_token: old, refresh_token: refresh } = memory.saved;
  memory.saved = { ...memory.saved, access_token: "expired" };
  const after = await whoami(client);
  return {
    before,
    after,
    asked: Object.fromEntries(address.searchParams),
    registered: memory.client.client_id,
    refreshed: memory.saved.access_token !== old && memory.saved.refresh_token !== refresh,
    browsed: memory.addresses.length,
  };
});
