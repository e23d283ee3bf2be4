// Plays the conformance cases over gRPC: node build/test/conformance/grpc.js CONTROL [CASE...]
import { connect } from "../../src/index.js";
import { run } from "./run.js";

await run(async (control, server) => {
  const { grpc } = (await (await control.get(`servers/${server}`)).json()) as { grpc: string };
  return connect(grpc);
});
