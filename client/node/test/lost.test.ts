import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Http2Session } from "node:http2";
import { type AddressInfo } from "node:net";
import { test } from "node:test";
import { Code, type Interceptor } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { connect, StylizationService } from "../src/index.js";
import { connect as connectByWeb } from "../src/web.js";
import { IMAGE, play, result, type Body } from "./server.js";

const QUEUED: Body = { case: "queued", value: { position: 0, seed: 7n } };

const PROBLEMS = {
  "a TypeError": new TypeError("Cannot read properties of undefined"),
  "an error of a file": Object.assign(new Error("ENOENT: no such file or directory, open 'token'"), { code: "ENOENT" }),
  "words that a transport uses": new Error("missing status"),
};

for (const [kind, problem] of Object.entries(PROBLEMS)) {
  for (const [entry, connectBy] of [["grpc", connect], ["web", connectByWeb]] as const) {
    test(`${kind} of the caller's own interceptor is no lost connection: ${entry}`, async () => {
      let calls = 0;
      const failing: Interceptor = () => async () => {
        calls++;
        throw problem;
      };
      const client = connectBy("http://127.0.0.1:1", { interceptors: [failing] });
      const unknown = { name: "StylizeError", code: Code.Unknown };
      await assert.rejects(client.jobs.get("one"), unknown);
      await assert.rejects(client.jobs.watch("one").result(), unknown);
      assert.equal(calls, 2);
      client.close();
    });
  }
}

for (const [entry, connectBy] of [["grpc", connect], ["web", connectByWeb]] as const) {
  test(`a server that is not there is unavailable: ${entry}`, async () => {
    const client = connectBy("http://127.0.0.1:1");
    await assert.rejects(client.jobs.get("one", { timeoutMs: 300 }), { code: Code.Unavailable });
    client.close();
  });
}

test("a watch goes on after its connection was lost", async () => {
  const sessions: Http2Session[] = [];
  async function* watchStylization({ afterSequence }: { afterSequence: bigint }) {
    if (afterSequence) return yield* play([QUEUED, result(IMAGE)], afterSequence);
    yield* play([QUEUED]);
    setTimeout(() => sessions[0]!.destroy(), 20);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const routes = connectNodeAdapter({ routes: ({ service }) => service(StylizationService, { watchStylization }) });
  const server = createServer(routes);
  server.on("session", (session) => sessions.push(session));
  await once(server.listen(0, "127.0.0.1"), "listening");
  const client = connect(`127.0.0.1:${(server.address() as AddressInfo).port}`);
  try {
    assert.equal((await client.jobs.watch("one").result()).imageData.length, IMAGE.length);
    assert.equal(sessions.length, 2);
  } finally {
    client.close();
    server.close();
  }
});

for (const address of ["gateway", "127.0.0.1:8080", "ftp://gateway", "http://name:password@127.0.0.1:1"]) {
  test(`what fetch cannot call is no lost connection: ${address}`, () => {
    assert.throws(() => connectByWeb(address), { name: "StylizeError", code: Code.InvalidArgument });
  });
}

test("what is no file is refused before any call", async () => {
  const client = connectByWeb("http://127.0.0.1:1");
  for (const nothing of [undefined, null, 5] as unknown as Uint8Array[]) {
    const refused = { name: "StylizeError", code: Code.InvalidArgument, reason: "INVALID_FIELD" };
    await assert.rejects(client.jobs.upload(nothing), refused);
    await assert.rejects(client.styles.upload(nothing), refused);
  }
});
