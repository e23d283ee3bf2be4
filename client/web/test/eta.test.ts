import { expect, test } from "vitest";
import { Eta } from "../src/eta";

test("counts down between reports, to zero and no further", () => {
  const eta = new Eta();
  expect(eta.leftMs(0)).toBeUndefined();
  eta.report(10_000, 0);
  expect(eta.leftMs(4_000)).toBe(6_000);
  expect(eta.leftMs(20_000)).toBe(0);
});

test("a report that is a little later is noise, one that is much later is news", () => {
  const eta = new Eta();
  eta.report(10_000, 0);
  eta.report(10_500, 1_000);
  expect(eta.leftMs(1_000)).toBe(9_000);
  eta.report(30_000, 2_000);
  expect(eta.leftMs(2_000)).toBe(30_000);
});

test("a new run begins without the time of the last one", () => {
  const eta = new Eta();
  eta.report(10_000, 0);
  eta.reset();
  expect(eta.leftMs(0)).toBeUndefined();
});
