import { type Settings } from "./settings";

/** How far a job is; the last three are final. */
export type JobState = "queued" | "running" | "succeeded" | "failed" | "cancelled";

/** The loss terms of one step. */
export interface LossPoint {
  readonly step: number;
  readonly total: number;
  readonly direction: number;
  readonly patch: number;
  readonly content: number;
  readonly totalVariation: number;
}

/** A job of this browser. Its images are stored beside it. */
export interface JobRecord {
  readonly name: string;
  readonly createdAt: number;
  readonly settings: Settings;
  readonly photoName: string;
  readonly state: JobState;
  readonly step: number;
  readonly steps: number;
  /** Decimal digits: of the last event that arrived. */
  readonly sequence: string;
  readonly losses: readonly LossPoint[];
  readonly warnings: readonly { code: string; message: string }[];
  /** Why it failed, in words. */
  readonly problem: string;
  /** The text of the style that its draft is in; undefined without a draft. */
  readonly draftText?: string;
  /** Whether its latest preview is to be kept in place of a result. */
  readonly isKept: boolean;
  /** Whether the result is drawn larger than it was optimized, which takes time of its own. */
  readonly isDrawnLarger?: boolean;
  /** Size of the result in pixels; undefined before there is one. */
  readonly pixels?: { readonly width: number; readonly height: number };
  /** Everything that repeats the result, as JSON; empty before there is one. */
  readonly description: string;
}

/** Steps that stand for images that are no previews. */
export const PHOTO = -1;
export const RESULT = -2;
export const THUMBNAIL = -3;
export const DRAFT = -4;

/** An image of a job. */
export interface StoredImage {
  readonly job: string;
  /** Of a preview, from 0, the start; or one of the constants above. */
  readonly step: number;
  readonly blob: Blob;
}

const CHANGED = "changed";

/** The jobs and images of this browser, in IndexedDB. Where a browser has none, nothing is kept. */
export class Store {
  readonly #database = openDatabase();
  readonly #channel = new BroadcastChannel("clipstyler");

  /** Calls back when another tab has changed something. */
  onChange(listener: () => void): void {
    this.#channel.addEventListener("message", listener);
  }

  /** All jobs, newest first. */
  async jobs(): Promise<JobRecord[]> {
    const all = await this.#do<JobRecord[]>("readonly", (jobs) => jobs.getAll());
    return (all ?? []).sort((one, other) => other.createdAt - one.createdAt);
  }

  async job(name: string): Promise<JobRecord | undefined> {
    return this.#do<JobRecord | undefined>("readonly", (jobs) => jobs.get(name));
  }

  /** Adds a job with its photo; where there is no space for the photo, without it. */
  async addJob(job: JobRecord, photo: Blob): Promise<void> {
    const isAdded = await this.#do("readwrite", (jobs, images) => {
      images.put({ job: job.name, step: PHOTO, blob: photo });
      return jobs.put(job);
    });
    if (!isAdded) await this.#do("readwrite", (jobs) => jobs.put(job));
    this.#channel.postMessage(CHANGED);
  }

  /** Changes a job to what `change` makes of it now; one that was deleted meanwhile, in this tab or another, stays so. */
  async changeJob(name: string, change: (job: JobRecord) => JobRecord): Promise<void> {
    await this.#do("readwrite", (jobs) => {
      const reading = jobs.get(name) as IDBRequest<JobRecord | undefined>;
      reading.addEventListener("success", () => {
        if (reading.result) jobs.put(change(reading.result));
      });
      return reading;
    });
    this.#channel.postMessage(CHANGED);
  }

  async image(job: string, step: number): Promise<Blob | undefined> {
    const found = await this.#do<StoredImage | undefined>("readonly", (_, images) => images.get([job, step]));
    return found?.blob;
  }

  /** The previews of a job, in order. */
  async previews(job: string): Promise<StoredImage[]> {
    const range = IDBKeyRange.bound([job, 0], [job, Infinity]);
    return (await this.#do<StoredImage[]>("readonly", (_, images) => images.getAll(range))) ?? [];
  }

  /** Stores an image of a job; of one that was deleted meanwhile, in this tab or another, nothing would ever delete it. */
  async putImage(image: StoredImage): Promise<void> {
    await this.#do("readwrite", (jobs, images) => {
      const looking = jobs.getKey(image.job);
      looking.addEventListener("success", () => {
        if (looking.result !== undefined) images.put(image);
      });
      return looking;
    });
  }

  /** Deletes a job and its images. */
  async deleteJob(name: string): Promise<void> {
    const range = IDBKeyRange.bound([name, -Infinity], [name, Infinity]);
    await this.#do("readwrite", (jobs, images) => {
      images.delete(range);
      return jobs.delete(name);
    });
    this.#channel.postMessage(CHANGED);
  }

  /** Does one operation, whole or not at all; a browser that refuses it (no space, private window) goes on without. */
  async #do<T>(
    mode: IDBTransactionMode,
    operation: (jobs: IDBObjectStore, images: IDBObjectStore) => IDBRequest,
  ): Promise<T | undefined> {
    const database = await this.#database;
    if (!database) return undefined;
    try {
      const transaction = database.transaction(["jobs", "images"], mode);
      const request = operation(transaction.objectStore("jobs"), transaction.objectStore("images"));
      await completed(transaction);
      return request.result as T;
    } catch {
      return undefined;
    }
  }
}

async function openDatabase(): Promise<IDBDatabase | undefined> {
  try {
    const request = indexedDB.open("clipstyler", 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("jobs", { keyPath: "name" });
      request.result.createObjectStore("images", { keyPath: ["job", "step"] });
    };
    return await settled(request);
  } catch {
    return undefined;
  }
}

/** Waits until everything is stored: a browser may find only at the end that there is no space. */
function completed(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error("the transaction was aborted"));
  });
}

function settled<T>(request: IDBRequest): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result as T);
    request.onerror = () => reject(request.error ?? new Error("the request failed"));
  });
}
