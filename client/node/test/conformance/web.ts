// Plays the conformance cases over gRPC-Web, with the `fetch` of Node.js: node build/test/conformance/web.js CONTROL [CASE...]
import { connectWeb } from "./gateway.js";
import { run } from "./run.js";

await run(connectWeb);
