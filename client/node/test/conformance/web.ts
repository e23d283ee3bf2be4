// Plays the conformance cases over gRPC-Web, as in a browser: node build/test/conformance/web.js CONTROL [CASE...]
import { connect } from "../../src/web.js";
import { run } from "./run.js";

await run(async (control, server) => {
  const { url } = (await (await control.get(`gateways/${server}`)).json()) as { url: string };
  return connect(url);
});
