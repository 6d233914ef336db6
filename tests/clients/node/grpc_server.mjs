// A gRPC server (grpc-js): the service test.Echo; see ../../servers/grpc_server.py, whose arguments it shares.

import { readFileSync } from "node:fs";
import grpc from "@grpc/grpc-js";

const [port, certificate, key] = process.argv.slice(2);
const raw = (bytes) => bytes;
const method = (name, requestStream, responseStream) => ({
  path: `/test.Echo/${name}`, requestStream, responseStream,
  requestSerialize: raw, requestDeserialize: raw, responseSerialize: raw, responseDeserialize: raw,
});

function unary(call, done) {
  const initial = new grpc.Metadata();
  initial.set("x-initial", "first");
  initial.set("x-user", call.metadata.get("x-consumer-username")[0] ?? "");
  call.sendMetadata(initial);
  const trailing = new grpc.Metadata();
  trailing.set("x-trailing", "last");
  trailing.set("x-bytes-bin", Buffer.from([0, 255]));
  const fail = call.metadata.get("fail")[0];
  const error = fail && { code: Number(fail), details: "told to fail: 100% ü", metadata: trailing };
  done(error ?? null, call.request, trailing);
}

async function collect(call, done) {
  let [count, size] = [0, 0];
  for await (const message of call) [count, size] = [count + 1, size + message.length];
  done(null, Buffer.from(`${count} ${size}`));
}

function expand(call) {
  const [count, size] = call.request.toString().split(" ").map(Number);
  for (let number = 0; number < count; number += 1) call.write(Buffer.alloc(size, number % 256));
  call.end();
}

function chat(call) {
  call.on("data", (message) => call.write(message));
  call.on("end", () => call.end());
}

function refuse(call, done) {
  done({ code: grpc.status.FAILED_PRECONDITION, details: "not now" });
}

function hang(call) {
  const left = call.getDeadline() === Infinity ? 0 : (call.getDeadline() - Date.now()) / 1000;
  console.log("hanging", Math.round(left));
  call.on("cancelled", () => console.log("ended"));
}

const server = new grpc.Server();
server.addService({
  Unary: method("Unary", false, false), Collect: method("Collect", true, false), Expand: method("Expand", false, true),
  Chat: method("Chat", true, true), Refuse: method("Refuse", true, false), Hang: method("Hang", false, false),
}, { Unary: unary, Collect: collect, Expand: expand, Chat: chat, Refuse: refuse, Hang: hang });
const credentials = certificate
  ? grpc.ServerCredentials.createSsl(null, [{ cert_chain: readFileSync(certificate), private_key: readFileSync(key) }])
  : grpc.ServerCredentials.createInsecure();
server.bindAsync(`127.0.0.1:${port}`, credentials, (error) => {
  if (error) throw error;
  console.log("listening");
});
