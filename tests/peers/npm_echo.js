// Servers in Node that send each message back, with packages that others have published.
//
// Prints a JSON object, from the name of each server to its port, and runs until the standard
// input ends.

"use strict";

const net = require("net");
const frames = require("frame-stream");
const varints = require("length-prefixed-stream");
const rpc = require("vscode-jsonrpc/node");

const piped = (decode, encode) => (socket) =>
  socket.pipe(decode()).pipe(encode()).pipe(socket);

const frameStream = (lengthSize) =>
  piped(
    () => frames.decode({ lengthSize, readableObjectMode: true }), // or empty messages are lost
    () => frames.encode({ lengthSize }),
  );

const servers = {
  "frame-stream-1": frameStream(1),
  "frame-stream-2": frameStream(2),
  "frame-stream-4": frameStream(4),
  "length-prefixed-stream": piped(() => varints.decode({ allowEmpty: true }), varints.encode),
  "vscode-jsonrpc": (socket) => {
    const writer = new rpc.StreamMessageWriter(socket);
    new rpc.StreamMessageReader(socket).listen((message) => writer.write(message));
  },
};

async function main() {
  const ports = {};
  for (const [name, serve] of Object.entries(servers)) {
    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      socket.on("error", () => socket.destroy());
      serve(socket);
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    ports[name] = server.address().port;
  }
  console.log(JSON.stringify(ports));
  process.stdin.resume().on("end", () => process.exit(0));
}

main();
