import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Http2Server } from "node:http2";
import { type AddressInfo } from "node:net";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { Code, createRouterTransport, type ServiceImpl } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { Client, connect, ServerService, StylizationService } from "../src/index.js";
import { failure, PHOTO, play, type Body } from "./server.js";

const QUEUED: Body = { case: "queued", value: { position: 0, seed: 7n } };

for (const target of ["", " ", "ftp://127.0.0.1:50051", "127.0.0.1:99999", "a b:1"]) {
  test(`what is no address of a server is refused at once: ${JSON.stringify(target)}`, () => {
    assert.throws(() => connect(target), { name: "StylizeError", code: Code.InvalidArgument, message: /^target: / });
  });
}

for (const target of ["127.0.0.1:1", "[::1]:1", "http://a:1", "https://a"]) {
  test(`an address is taken: ${target}`, () => {
    connect(target).close();
  });
}

/** Play methods on a port of this machine, and call them. */
async function served(
  methods: Partial<ServiceImpl<typeof StylizationService>>,
  act: (client: Client, server: Http2Server) => Promise<void>,
): Promise<void> {
  const server = createServer(connectNodeAdapter({ routes: ({ service }) => service(StylizationService, methods) }));
  await once(server.listen(0, "127.0.0.1"), "listening");
  const client = connect(`127.0.0.1:${(server.address() as AddressInfo).port}`);
  try {
    await act(client, server);
  } finally {
    client.close();
    server.close();
  }
}

function timers(): number {
  return process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
}

test("a call that is left ends, behind what has arrived, and its timer keeps no program alive", async () => {
  const left: Promise<unknown>[] = [];
  async function* stylize(_request: unknown, { signal }: { signal: AbortSignal }) {
    const ended = once(signal, "abort");
    left.push(ended);
    yield* play(Array<Body>(20).fill(QUEUED));
    await ended;
  }
  await served({ stylize }, async (client) => {
    const asked = { photo: PHOTO, styleText: "fire" };
    for await (const _ of client.stylize(asked)) break;
    await setTimeout(50); // for the timers of a connection without calls
    const before = timers();
    for await (const _ of client.stylize(asked, { timeoutMs: 600_000 })) break;
    const stream = client.stylize(asked, { timeoutMs: 600_000 });
    for await (const _ of stream) stream.close();
    assert.equal((await Promise.all(left)).length, 3);
    await setTimeout(50);
    assert.ok(timers() <= before, `${timers()} timers, ${before} before`);
  });
});

test("a client that is closed during the pause before a retry, or called after it, connects no more", async () => {
  let calls = 0;
  async function* watchStylization() {
    calls++;
    yield* play([QUEUED]);
    throw failure(Code.Unavailable, "DRAINING");
  }
  const getStylization = () => {
    calls++;
    throw failure(Code.Unavailable, "DRAINING", 200);
  };
  await served({ watchStylization, getStylization }, async (client, server) => {
    let connections = 0;
    server.on("session", () => connections++);
    const cancelled = { name: "StylizeError", code: Code.Canceled };
    const ask = () => [client.jobs.watch("one").result(), client.jobs.get("one")].map((end) => assert.rejects(end, cancelled));
    const running = ask();
    await setTimeout(100);
    client.close();
    await Promise.all([...running, ...ask()]);
    await setTimeout(300);
    assert.deepEqual([calls, connections], [2, 1]);
  });
});

test("a server that falls silent is waited for no longer than asked", async () => {
  let calls = 0;
  const getServerInfo = () => setTimeout(calls++ ? 1000 : 200, {});
  const client = new Client(createRouterTransport(({ service }) => service(ServerService, { getServerInfo })));
  const begin = performance.now();
  await assert.rejects(client.waitUntilReady(400), { code: Code.Unavailable, message: /was not ready after 400 ms/ });
  assert.ok(performance.now() - begin < 600);
  assert.equal(calls, 2);
});
