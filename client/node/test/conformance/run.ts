import type { Client } from "../../src/core.js";
import { Control, play, type Case } from "./player.js";

/** Play the cases that the command line names, all if it names none; `clientOf` connects to the server of a case. */
export async function run(clientOf: (control: Control, server: string) => Promise<Client>): Promise<void> {
  const [address = "", ...names] = process.argv.slice(2);
  const control = new Control(address);
  for (const item of (await (await control.get("cases")).json()) as Case[]) {
    if (names.length && !names.includes(item.name)) continue;
    const report = await play(control, await clientOf(control, item.server), item);
    console.log(JSON.stringify(report));
    if (!report.ok) process.exitCode = 1;
  }
}
