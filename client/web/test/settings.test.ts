import { create } from "@bufbuild/protobuf";
import { Preset, ServerInfoSchema, StylizationSpecSchema, type ServerInfo } from "@clipstyler/client/web";
import { expect, test } from "vitest";
import { DEFAULTS, fromFragment, isDrawnLarger, isSeed, settingsOf, specOf, toFragment, type Settings } from "../src/settings";

const INFO: ServerInfo = create(ServerInfoSchema, {
  limits: { maxPreviewSize: 256, maxOutputSize: 8192 },
  presets: [{ preset: Preset.DRAFT, size: 256, steps: 40, patches: 16 }, { preset: Preset.PAPER, size: 512, steps: 200, patches: 64 }],
  encoderSets: [{ name: "pocket", calibration: { weightPatch: 9000, weightContent: 150 } }],
});
const ALL: Settings = {
  text: "gold & ‘fire’ #1",
  preset: "paper",
  sourceText: "a cat",
  size: 300,
  outputSize: 1200,
  steps: 80,
  patches: 12,
  seed: "9223372036854775807",
  strengths: { patch: 1.5, content: 0 },
  encoderSet: "vit-b-32",
  previews: false,
};
const JOB = "stylizations/8c4ab1a1-5f0c-4a3e-9c57-0e0d4f6f3a11";

test("a link has every setting and the job", () => {
  expect(fromFragment(toFragment(ALL, JOB))).toEqual({ settings: ALL, job: JOB, isEmpty: false });
  expect(fromFragment("#style-text")).toMatchObject({ isEmpty: true });
  expect(fromFragment("")).toEqual({ settings: DEFAULTS, job: undefined, isEmpty: true });
});

test("a link that somebody changed is read as far as it makes sense", () => {
  const { settings, job } = fromFragment("#job=../../x&text=fire&size=-3&seed=9223372036854775808&patch=much&preset=huge");
  expect(settings).toEqual({ ...DEFAULTS, text: "fire" });
  expect(job).toBeUndefined();
});

test("strengths are factors of the calibrated weights, and previews come some twenty times", () => {
  const { seed: _, ...rest } = ALL;
  const spec = specOf({ ...rest, previews: true }, INFO);
  expect(spec.options).toMatchObject({ preset: Preset.PAPER, size: 300, weightPatch: 13500, weightContent: 0 });
  expect(spec.options).not.toHaveProperty("seed");
  expect(spec.previews).toEqual({ everySteps: 4, maxSize: 256, draft: "auto" });
  expect(specOf({ ...DEFAULTS, preset: "paper" }, INFO).previews).toMatchObject({ everySteps: 10 });
  expect(specOf(ALL, INFO).previews).toMatchObject({ everySteps: 0, draft: "" });
});

test("a result has the size of the photo, up to 2048 px and the limit of the server", () => {
  const asked = (photoPx?: number, info = INFO, settings = DEFAULTS) => specOf(settings, info, photoPx).options?.outputSize;
  expect(asked(4000)).toBe(2048);
  expect([asked(2048), asked(300), asked(undefined)]).toEqual([undefined, undefined, undefined]);
  expect(asked(4000, create(ServerInfoSchema, { limits: { maxOutputSize: 1000 } }))).toBe(1000);
  expect(asked(4000, INFO, { ...DEFAULTS, outputSize: 3000 })).toBe(3000);
});

test("a result that is larger than the working size is drawn", () => {
  const drawn = (size: number, outputSize: number) => isDrawnLarger(create(StylizationSpecSchema, { options: { size, outputSize } }));
  expect([drawn(256, 2048), drawn(256, 256), isDrawnLarger(undefined)]).toEqual([true, false, false]);
});

test("a seed has up to 63 bits", () => {
  expect(isSeed("9223372036854775807")).toBe(true);
  for (const text of ["9223372036854775808", "-1", "1.5", "seven", ""]) expect(isSeed(text)).toBe(false);
});

test("a job of another browser has the settings that its result was made with", () => {
  const spec = (encoderSet: string, sourceText: string) =>
    create(StylizationSpecSchema, { styleText: "gold", sourceText, options: { encoderSet, steps: 40, weightPatch: 18000 } });
  const sourceText = "a Photo";
  const encoderSets = [{ name: "pocket", sourceText, calibration: { weightPatch: 9000 } }, { name: "other", sourceText }];
  const info = create(ServerInfoSchema, { encoderSets });
  expect(settingsOf(spec("pocket", "a Photo"), info)).toMatchObject({ text: "gold", steps: 40, strengths: { patch: 2 } });
  expect(settingsOf(spec("pocket", "a Photo"), info)).not.toHaveProperty("encoderSet");
  expect(settingsOf(spec("pocket", "a Photo"), info)).not.toHaveProperty("sourceText");
  expect(settingsOf(spec("other", "a cat"), info)).toMatchObject({ encoderSet: "other", sourceText: "a cat" });
});
