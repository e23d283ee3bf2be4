import { expect, test } from "vitest";
import { isUnknown, LOOK_COUNT, looksFor, nearestTo } from "../src/looks";

const names = (typed: string) => looksFor(typed).map(({ name }) => name);

test("looks that fit come first, by any of their wordings", () => {
  expect(names("")).toHaveLength(LOOK_COUNT);
  expect(names("stain")[0]).toBe("stained glass");
  expect(names("van gogh")[0]).toBe("starry night");
  expect(names("")[0]).toBe(names("qqq")[0]);
});

test.each(["fire", "Burning flames", "a sketch with black pencil", "blue crystals", "The Sea", "in the style of mosaic", "of", ""])(
  "%j is not called unknown",
  (text) => expect(isUnknown(text)).toBe(false),
);

test.each(["qwertz", "a spreadsheet of numbers"])("%j is called unknown", (text) => expect(isUnknown(text)).toBe(true));

test("the nearest looks are near by their letters", () => {
  expect(nearestTo("mosaik", 1)).toEqual(["mosaic"]);
});
