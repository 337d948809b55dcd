// Servers in Node that send each message back, with readers written by hand.
//
// Prints a JSON object, from the name of each server to its port, and runs until the standard
// input ends.

"use strict";

const net = require("net");
const readline = require("readline");

function lengthPrefix(socket) {
  let buffered = Buffer.alloc(0);
  socket.on("data", (chunk) => {
    buffered = Buffer.concat([buffered, chunk]);
    while (buffered.length >= 4) {
      const end = 4 + buffered.readUInt32BE(0);
      if (buffered.length < end) break;
      const payload = buffered.subarray(4, end);
      const prefix = Buffer.alloc(4);
      prefix.writeUInt32BE(payload.length);
      socket.write(prefix);
      socket.write(payload);
      buffered = buffered.subarray(end);
    }
  });
  socket.on("end", () => socket.end(buffered)); // the start of a message that was cut
}

function lines(socket) {
  const reader = readline.createInterface({ input: socket, crlfDelay: Infinity });
  reader.on("line", (line) => socket.write(line + "\n"));
  reader.on("close", () => socket.end());
}

async function main() {
  const ports = {};
  for (const serve of [lengthPrefix, lines]) {
    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      socket.on("error", () => socket.destroy());
      serve(socket);
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    ports[serve.name] = server.address().port;
  }
  console.log(JSON.stringify(ports));
  process.stdin.resume().on("end", () => process.exit(0));
}

main();
