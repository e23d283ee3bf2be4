import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, createRouterTransport } from "@connectrpc/connect";
import { Client, StylizationService } from "../src/core.js";
import { bearer } from "../src/credentials.js";
import { connect } from "../src/index.js";

const NAME = "stylizations/8c4ab1a1-5f0c-4a3e-9c57-0e0d4f6f3a11";

test("every call shows the token", async () => {
  const shown: (string | null)[] = [];
  const transport = createRouterTransport(
    ({ service }) =>
      service(StylizationService, {
        getStylization: (_, { requestHeader }) => {
          shown.push(requestHeader.get("authorization"));
          return { stylization: { name: NAME } };
        },
      }),
    { transport: { interceptors: bearer("secret", "https://example.org") } },
  );
  await new Client(transport).jobs.get(NAME);
  assert.deepEqual(shown, ["Bearer secret"]);
});

test("a token leaves this machine only encrypted", () => {
  for (const target of ["example.org:50051", "http://example.org", "10.0.0.1:1", "127.example.org:1"]) {
    assert.throws(() => connect(target, { token: "secret" }), (error: Error) => {
      return error.message.includes("without encryption") && !error.message.includes("secret");
    });
  }
  for (const target of ["https://example.org", "127.0.0.1:1", "localhost:1", "[::1]:1"]) {
    connect(target, { token: "secret" }).close();
  }
  for (const none of [undefined, ""]) assert.deepEqual(bearer(none, "http://example.org"), []);
});

test("a token with characters that no token has is refused at once, and not shown", () => {
  for (const token of ["secret\n", "two secrets", "sécret", "секрет"]) {
    const refused = { name: "StylizeError", code: Code.InvalidArgument, message: "token: has characters that no token has" };
    assert.throws(() => connect("127.0.0.1:1", { token }), refused);
  }
});
