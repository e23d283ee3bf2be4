import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@connectrpc/connect";
import { connect } from "../src/index.js";

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
