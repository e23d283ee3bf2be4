import { create } from "@bufbuild/protobuf";
import { Stylization_State, StylizationEventSchema, StylizationSchema, type Jobs } from "@clipstyler/client/web";
import { expect, test, vi } from "vitest";
import { recordOf, Run } from "../src/run";
import { DEFAULTS } from "../src/settings";
import { type JobState, type Store } from "../src/store";

const JOB = create(StylizationSchema, { name: "stylizations/8c4ab1a1-5f0c-4a3e-9c57-0e0d4f6f3a11" });

function aRun(state: JobState = "queued") {
  const written: string[] = [];
  const record = { ...recordOf(JOB, DEFAULTS, "cat.jpg"), state };
  const store = {
    changeJob: vi.fn(async (_, change) => {
      const { state, sequence } = change(record);
      written.push(`job ${state} ${sequence}`);
    }),
    putImage: vi.fn(async ({ step }) => {
      await Promise.resolve();
      written.push(`image ${step}`);
    }),
  };
  return { run: new Run(store as unknown as Store, record), written };
}

const progress = (sequence: number, step: number) =>
  create(StylizationEventSchema, {
    sequence: BigInt(sequence),
    event: { case: "progress", value: { step, steps: 9, losses: { total: step } } },
  });
const preview = (sequence: number, step: number) =>
  create(StylizationEventSchema, {
    sequence: BigInt(sequence),
    event: { case: "preview", value: { step, imageData: new Uint8Array([step]) } },
  });

const draft = (sequence: number) =>
  create(StylizationEventSchema, {
    sequence: BigInt(sequence),
    event: { case: "draft", value: { styleText: "fire", imageData: new Uint8Array([9]) } },
  });

const rendering = (sequence: number, tile: number) =>
  create(StylizationEventSchema, { sequence: BigInt(sequence), event: { case: "rendering", value: { tile, tiles: 10 } } });

test("an event that comes late does not revive a cancelled job", () => {
  const { run } = aRun();
  run.event(progress(1, 1));
  run.ended(create(StylizationSchema, { ...JOB, state: Stylization_State.CANCELLED, step: 1 }));
  run.event(progress(2, 2));
  expect(run.record).toMatchObject({ state: "cancelled", step: 1, sequence: "1" });
});

test("a preview is stored before the record that counts it as received", async () => {
  const { run, written } = aRun();
  run.event(preview(4, 3));
  await run.leave();
  expect(written.slice(0, 2)).toEqual(["image 3", "job queued 4"]);
});

test("a draft is no picture of the job, and there is none beside a preview or after the end", async () => {
  const { run, written } = aRun();
  run.event(draft(2));
  expect(run.draft).toMatchObject({ text: "fire" });
  expect(run.pictures).toEqual([]);
  const cancelled = aRun().run;
  cancelled.event(draft(2));
  cancelled.ended(create(StylizationSchema, { ...JOB, state: Stylization_State.CANCELLED }));
  expect(cancelled.draft).toBeUndefined();
  run.event(preview(3, 0));
  expect(run.draft).toBeUndefined();
  await run.leave();
  expect(written[0]).toBe("image -4");
});

test("after a restart of the server the curves begin anew and the pictures stay", () => {
  const { run } = aRun();
  for (const step of [1, 2, 3]) run.event(progress(step, step));
  run.event(preview(4, 3));
  run.event(progress(5, 1));
  expect(run.record.losses.map(({ step }) => step)).toEqual([1]);
  expect(run.pictures.map(({ step }) => step)).toEqual([3]);
});

test("the time left of the drawing follows from the parts that are drawn", () => {
  vi.spyOn(performance, "now").mockReturnValue(1_000);
  const { run } = aRun("running");
  run.event(progress(1, 9));
  run.event(rendering(2, 0));
  expect(run.eta.leftMs(1_000)).toBeUndefined();
  vi.spyOn(performance, "now").mockReturnValue(4_000);
  run.event(rendering(3, 3));
  expect(run.eta.leftMs(4_000)).toBe(7_000);
  expect(run.drawing).toEqual({ tile: 3, tiles: 10 });
  vi.restoreAllMocks();
});

test("a page that is opened while the result is drawn knows nothing about the parts before", () => {
  vi.spyOn(performance, "now").mockReturnValue(1_000);
  const { run } = aRun("running");
  run.event(rendering(2, 8));
  expect(run.eta.leftMs(1_000)).toBeUndefined();
  vi.spyOn(performance, "now").mockReturnValue(2_000);
  run.event(rendering(3, 9));
  expect(run.eta.leftMs(2_000)).toBe(1_000);
  vi.restoreAllMocks();
});

test.each(["before", "after"])("a job that was done before it could be cancelled has its picture, which came %s the answer", async (when) => {
  const { run } = aRun("running");
  const result = create(StylizationEventSchema, { sequence: 9n, event: { case: "result", value: { imageData: new Uint8Array([1]) } } });
  const answer = { ...JOB, state: Stylization_State.SUCCEEDED };
  const cancel = async () => {
    if (when === "before") run.event(result);
    return create(StylizationSchema, answer);
  };
  await run.cancel({ cancel } as unknown as Jobs, false);
  if (when === "after") run.event(result);
  expect(run.record).toMatchObject({ state: "succeeded", problem: "" });
});

test.each([
  ["queued", 1], // the list was brought up to date while this job was opened
  ["succeeded", 0],
] as const)("a job whose result is stored and whose record says %s is watched %i times", async (state, times) => {
  vi.stubGlobal("window", Object.assign(new EventTarget(), { setTimeout: setTimeout.bind(globalThis) }));
  vi.stubGlobal("document", new EventTarget());
  vi.stubGlobal("navigator", {});
  const { run } = aRun(state);
  run.result = new Blob(["the result"]);
  const stream = { sequence: 0n, close: () => {}, [Symbol.asyncIterator]: async function* () {} };
  const watch = vi.fn(() => stream);
  void run.follow({ watch } as unknown as Jobs);
  await run.leave();
  expect(watch).toHaveBeenCalledTimes(times);
});
