// Calls an xDS target many times with gRPC's own client; prints {replica: calls} as JSON.
//
// usage: node call.js TARGET CALLS   (the control plane comes from GRPC_XDS_BOOTSTRAP)
'use strict';

const grpc = require('@grpc/grpc-js');
require('@grpc/grpc-js-xds').register();

// Longest wait for the first call, which waits for the whole xDS walk; and for the others.
const [FIRST_MS, NEXT_MS] = [30000, 10000];
const identity = (bytes) => bytes;

function call(client, limit) {
  const metadata = new grpc.Metadata({ waitForReady: true });
  const options = { deadline: Date.now() + limit };
  return new Promise((resolve, reject) => {
    const done = (error, answer) => (error ? reject(error) : resolve(answer.toString()));
    client.makeUnaryRequest('/mesh.Echo/Unary', identity, identity, Buffer.from('who'), metadata, options, done);
  });
}

async function main(target, calls) {
  const client = new grpc.Client(target, grpc.credentials.createInsecure());
  const spread = {};
  for (let number = 0; number < calls; number += 1) {
    const replica = await call(client, number === 0 ? FIRST_MS : NEXT_MS);
    spread[replica] = (spread[replica] || 0) + 1;
  }
  console.log(JSON.stringify(spread));
  client.close();
}

main(process.argv[2], Number(process.argv[3])).then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
