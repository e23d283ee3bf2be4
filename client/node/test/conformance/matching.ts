/** Whether an outcome is what a case expects. */

export type Outcome = Record<string, unknown>;

/** Describe each key whose value is not as expected. */
export function mismatches(expected: Outcome, outcome: Outcome): string[] {
  return Object.entries({ code: "OK", ...expected })
    .filter(([key, value]) => !matches(value, outcome[key]))
    .map(([key, value]) => `${key}: expected ${JSON.stringify(value)}, got ${JSON.stringify(outcome[key])}`);
}

function matches(expected: unknown, value: unknown): boolean {
  if (!isObject(expected)) return JSON.stringify(expected) === JSON.stringify(value);
  if ("present" in expected) return isPresent(value) === expected.present;
  if ("min" in expected) return typeof value === "number" && value >= Number(expected.min);
  if ("max" in expected) return typeof value === "number" && value <= Number(expected.max);
  if (Array.isArray(expected.contains)) return Array.isArray(value) && isSubsequence(expected.contains, value);
  const entries = Object.entries(expected);
  if (!isObject(value)) return false;
  return entries.length ? entries.every(([key, inner]) => matches(inner, value[key])) : !Object.keys(value).length;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isPresent(value: unknown): boolean {
  return Array.isArray(value) ? value.length > 0 : isObject(value) ? Object.keys(value).length > 0 : Boolean(value);
}

function isSubsequence(items: readonly unknown[], values: readonly unknown[]): boolean {
  let found = 0;
  for (const value of values) if (found < items.length && value === items[found]) found++;
  return found === items.length;
}
