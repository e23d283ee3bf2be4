import { Code, StylizeError, type Jobs, type Stylization } from "@clipstyler/client/web";
import { thumbnail } from "./photo";
import { blobOf, describe, isFinal, pixelsOf, stateOf, stepsOf } from "./run";
import { repeating } from "./settings";
import { RESULT, THUMBNAIL, type JobRecord, type Store } from "./store";
import { JOB_LOST, PICTURE_LOST, problemText } from "./words";

const INTERVAL_MS = 2_000;
// What no further question changes.
const LOST: Partial<Record<Code, string>> = { [Code.NotFound]: JOB_LOST, [Code.DataLoss]: PICTURE_LOST };

/**
 * Keeps the jobs up to date that are not shown, and fetches their results when they are done.
 *
 * They are asked for, not watched: a browser opens six connections to a server, and every tab watches one job.
 */
export function keepUpToDate(store: Store, jobs: Jobs, isShown: (name: string) => boolean, changed: () => void): void {
  const round = async () => {
    for (const record of await store.jobs()) {
      if (isFinal(record.state) || isShown(record.name)) continue;
      const news = await newsOf(record, store, jobs);
      if (!news || isShown(record.name)) continue;
      await store.changeJob(record.name, (job) => (isFinal(job.state) ? job : { ...job, ...news }));
      changed();
    }
    setTimeout(() => void round(), INTERVAL_MS);
  };
  void round();
}

async function newsOf(record: JobRecord, store: Store, jobs: Jobs): Promise<Partial<JobRecord> | undefined> {
  try {
    const job = await jobs.get(record.name);
    if (stateOf(job) === "succeeded") return await finished(record, job, store, jobs);
    const problem = job.error ? problemText(StylizeError.fromMessage(job.error)) : "";
    return { state: stateOf(job), step: job.step, steps: job.spec?.options?.steps ?? record.steps, problem };
  } catch (thrown) {
    const problem = LOST[StylizeError.from(thrown).code];
    return problem === undefined ? undefined : { state: "failed", problem }; // asked again in the next round
  }
}

async function finished(record: JobRecord, job: Stylization, store: Store, jobs: Jobs): Promise<Partial<JobRecord>> {
  const { data } = await jobs.download(record.name);
  const image = blobOf(data, job.result?.image?.format);
  await store.putImage({ job: record.name, step: RESULT, blob: image });
  const small = await thumbnail(image);
  if (small) await store.putImage({ job: record.name, step: THUMBNAIL, blob: small });
  const steps = stepsOf(job) ?? record.steps;
  const settings = repeating(record.settings, job.spec);
  return { state: "succeeded", step: steps, steps, settings, ...pixelsOf(job.result), description: describe(job) };
}
