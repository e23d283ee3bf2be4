import { create } from "@bufbuild/protobuf";
import { Code, ImageFormat, Stylization_State, StylizationSchema, StylizeError, type Jobs } from "@clipstyler/client/web";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { keepUpToDate } from "../src/background";
import { recordOf } from "../src/run";
import { DEFAULTS } from "../src/settings";
import { RESULT, type JobRecord, type Store } from "../src/store";

const NAME = "stylizations/8c4ab1a1-5f0c-4a3e-9c57-0e0d4f6f3a11";
const RUNNING = recordOf(create(StylizationSchema, { name: NAME }), { ...DEFAULTS, text: "fire" }, "cat.jpg");
const DONE = create(StylizationSchema, {
  name: NAME,
  state: Stylization_State.SUCCEEDED,
  spec: { styleText: "fire", options: { steps: 40 } },
  result: { stepCount: 30, image: { format: ImageFormat.JPEG, widthPx: 3, heightPx: 2 } },
});

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const PICTURE = async () => ({ data: new Uint8Array([1]) });

/** One round, with what the store has of the job when the news arrive; returns what it has then. */
async function after(stored: JobRecord | undefined, download: () => Promise<unknown> = PICTURE) {
  const images = new Map<number, Blob>();
  const store = {
    jobs: async () => [RUNNING],
    changeJob: async (_: string, change: (job: JobRecord) => JobRecord) => void (stored = stored && change(stored)),
    putImage: async ({ step, blob }: { step: number; blob: Blob }) => void images.set(step, blob),
  };
  const jobs = { get: async () => DONE, download };
  keepUpToDate(store as unknown as Store, jobs as unknown as Jobs, () => false, () => {});
  await vi.advanceTimersByTimeAsync(1);
  return { stored, images };
}

test("a job that ended early has the steps that it took, and a picture of its format", async () => {
  const { stored, images } = await after(RUNNING);
  expect(stored).toMatchObject({ state: "succeeded", step: 30, steps: 30, pixels: { width: 3, height: 2 } });
  expect(images.get(RESULT)?.type).toBe("image/jpeg");
});

test("what another tab stored meanwhile is kept", async () => {
  const losses = [{ step: 1, total: 1, direction: 1, patch: 1, content: 1, totalVariation: 1 }];
  expect((await after({ ...RUNNING, losses })).stored).toMatchObject({ state: "succeeded", losses });
  const cancelled: JobRecord = { ...RUNNING, state: "cancelled" };
  expect((await after(cancelled)).stored).toEqual(cancelled);
  expect((await after(undefined)).stored).toBeUndefined();
});

test("a picture that the server cannot read is not asked for again and again, one that it may have later is", async () => {
  const failing = (code: Code) => async () => {
    throw new StylizeError(code, "problem");
  };
  const lost = { state: "failed", problem: "The picture can no longer be read from the server." };
  expect((await after(RUNNING, failing(Code.DataLoss))).stored).toMatchObject(lost);
  expect((await after(RUNNING, failing(Code.Unavailable))).stored).toEqual(RUNNING);
});
