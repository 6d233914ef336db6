// A server of the Model Context Protocol, without state: `node mcp_server.mjs PORT`. Its only tool says who calls.

import { createServer } from "node:http";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";

const identity = (headers) => ({
  user: headers["x-authenticated-userid"],
  scope: headers["x-authenticated-scope"],
  client: headers["x-credential-identifier"],
  authorization: headers["authorization"] ?? null,
});

const serve = async (request, response) => {
  const server = new McpServer({ name: "whoami", version: "1.0.0" });
  server.registerTool("whoami", { description: "Who calls" }, () => ({
    content: [{ type: "text", text: JSON.stringify(identity(request.headers)) }],
  }));
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
  response.on("close", () => {
    transport.close();
    server.close();
  });
  await server.connect(transport);
  await transport.handleRequest(request, response);
};

createServer((request, response) => {
  serve(request, response).catch((error) => {
    console.error(error);
    response.destroy();
  });
}).listen(Number(process.argv[2]), "127.0.0.1");
