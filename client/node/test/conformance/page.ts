// Plays the conformance cases in a page, bundled into one script: `await playCases(CONTROL, [CASE, ...])` returns the reports.
import { connectWeb } from "./gateway.js";
import type { Report } from "./player.js";
import { reports } from "./run.js";

Object.assign(globalThis, {
  playCases: async (address: string, names: readonly string[]): Promise<Report[]> => {
    const all: Report[] = [];
    for await (const report of reports(address, names, connectWeb)) all.push(report);
    return all;
  },
});
