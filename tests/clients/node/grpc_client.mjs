// A gRPC client (grpc-js) of the service test.Echo; see ../grpc_client.py, whose arguments and output it shares.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import grpc from "@grpc/grpc-js";

const [address, authority, token, ...calls] = process.argv.slice(2);
const LARGE = 64 * 1024;
// More than any window or buffer on the way.
const MANY = 200;

const raw = (bytes) => bytes;
const method = (name, requestStream, responseStream) => ({
  path: `/test.${name}`, requestStream, responseStream,
  requestSerialize: raw, requestDeserialize: raw, responseSerialize: raw, responseDeserialize: raw,
});
const Client = grpc.makeGenericClientConstructor({
  unary: method("Echo/Unary", false, false), collect: method("Echo/Collect", true, false),
  expand: method("Echo/Expand", false, true), chat: method("Echo/Chat", true, true),
  refuse: method("Echo/Refuse", true, false), hang: method("Echo/Hang", false, false),
  absent: method("Absent/Unary", false, false),
}, "test.Echo");
const credentials = authority === "-"
  ? grpc.credentials.createInsecure() : grpc.credentials.createSsl(readFileSync(authority));
const client = new Client(address, credentials, { "grpc.enable_retries": 0 });

const metadata = (entries = {}) => {
  const all = new grpc.Metadata();
  if (token !== "-") all.set("authorization", `Bearer ${token}`);
  for (const [name, value] of Object.entries(entries)) all.set(name, value);
  return all;
};
const within = (seconds) => ({ deadline: Date.now() + seconds * 1000 });
const failure = (error) => ({ code: grpc.status[error.code], message: error.details });
const called = (start) => new Promise((resolve, reject) => {
  start((error, response) => (error ? reject(error) : resolve(response)));
});

function unary(fail) {
  const said = { initial: null, user: null, trailing: null, bytes: "" };
  return new Promise((resolve) => {
    const call = client.unary(Buffer.from("hello"), metadata(fail ? { fail } : {}), within(30), (error, response) => {
      Object.assign(said, error ? failure(error) : { response: response.toString() });
    });
    call.on("metadata", (initial) => {
      [said.initial, said.user] = ["x-initial", "x-user"].map((name) => initial.get(name)[0] ?? null);
    });
    call.on("status", ({ metadata: trailing }) => {
      said.trailing = trailing.get("x-trailing")[0] ?? null;
      said.bytes = trailing.get("x-bytes-bin")[0]?.toString("hex") ?? "";
      setImmediate(() => resolve(said));
    });
  });
}

async function send(call, count) {
  for (let sent = 0; sent < count; sent += 1) {
    if (!call.write(Buffer.alloc(LARGE))) await new Promise((resolve) => call.once("drain", resolve));
  }
  call.end();
}

async function collect() {
  return (await called((done) => { send(client.collect(metadata(), within(60), done), MANY); })).toString();
}

async function expand() {
  let [count, right] = [0, true];
  for await (const message of client.expand(Buffer.from(`${MANY} ${LARGE}`), metadata(), within(60))) {
    right &&= message.equals(Buffer.alloc(LARGE, count % 256));
    count += 1;
  }
  return `${count} ${right ? "True" : "False"}`;
}

async function chat() {
  const call = client.chat(metadata(), within(60));
  const sizes = [];
  call.write(Buffer.from("0"));
  for await (const message of call) {
    sizes.push(message.length);
    if (sizes.length < 3) call.write(Buffer.from(`${sizes.length}`));
    else if (sizes.length === 3) send(call, MANY);
  }
  return `${sizes.length} ${sizes.reduce((sum, size) => sum + size, 0)}`;
}

async function refuse() {
  return called((done) => { client.refuse(metadata(), within(20), done).write(Buffer.from("first")); }).catch(failure);
}

async function deadline() {
  return called((done) => client.hang(Buffer.alloc(0), metadata(), within(1), done)).catch((error) => failure(error).code);
}

async function cancel() {
  return new Promise((resolve) => {
    const call = client.hang(Buffer.alloc(0), metadata(), (error) => resolve(failure(error).code));
    console.log("calling");
    createInterface({ input: process.stdin }).once("line", () => call.cancel());
  });
}

async function absent() {
  return called((done) => client.absent(Buffer.alloc(0), metadata(), within(30), done)).catch(failure);
}

const CALLS = { unary, failing: () => unary("9"), collect, expand, chat, refuse, deadline, cancel, absent };
const results = {};
for (const call of calls) results[call] = await CALLS[call]();
console.log(JSON.stringify(results));
process.exit(0);
