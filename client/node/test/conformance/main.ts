// Plays the conformance cases over gRPC: node build/test/conformance/main.js CONTROL [CASE...]
import { connect } from "../../src/index.js";
import { Control, play, type Case } from "./player.js";

const [address = "", ...names] = process.argv.slice(2);
const control = new Control(address);
for (const item of (await (await control.get("cases")).json()) as Case[]) {
  if (names.length && !names.includes(item.name)) continue;
  const { grpc } = (await (await control.get(`servers/${item.server}`)).json()) as { grpc: string };
  const report = await play(control, connect(grpc), item);
  console.log(JSON.stringify(report));
  if (!report.ok) process.exitCode = 1;
}
