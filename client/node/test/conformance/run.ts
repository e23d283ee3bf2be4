import type { Client } from "../../src/core.js";
import { Control, play, type Case, type Report } from "./player.js";

/** Connects to the server of a case. */
export type ClientOf = (control: Control, server: string) => Promise<Client>;

/** Play the cases of these names, all if there are none, one after the other. */
export async function* reports(address: string, names: readonly string[], clientOf: ClientOf): AsyncGenerator<Report> {
  const control = new Control(address);
  for (const item of (await (await control.get("cases")).json()) as Case[]) {
    if (names.length && !names.includes(item.name)) continue;
    yield await play(control, await clientOf(control, item.server), item);
  }
}

/** Play the cases that the command line names, all if it names none, and print a line for each. */
export async function run(clientOf: ClientOf): Promise<void> {
  const [address = "", ...names] = process.argv.slice(2);
  for await (const report of reports(address, names, clientOf)) {
    console.log(JSON.stringify(report));
    if (!report.ok) process.exitCode = 1;
  }
}
