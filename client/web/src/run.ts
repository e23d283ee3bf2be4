import { toJsonString } from "@bufbuild/protobuf";
import { durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import {
  Stylization_State,
  StylizationSpecSchema,
  StylizationResultSchema,
  StylizeError,
  type Jobs,
  type Stylization,
  type StylizationEvent,
  type StylizationEvent_Draft,
  type StylizationEvent_Preview,
  type StylizationEvent_Progress,
  type StylizationEvent_Rendering,
  type StylizationEvent_Result,
  type StylizationResult,
} from "@clipstyler/client/web";
import { Eta } from "./eta";
import { follow, type Follower } from "./follow";
import { isDrawnLarger, repeating, type Settings } from "./settings";
import { DRAFT, PHOTO, RESULT, THUMBNAIL, type JobRecord, type JobState, type LossPoint, type Store } from "./store";
import { thumbnail } from "./photo";
import { JOB_LOST, PICTURE_LOST, problemText } from "./words";

const SAVE_INTERVAL_MS = 2_000;
const MIME_TYPES = ["image/jpeg", "image/jpeg", "image/webp", "image/png"];

/** What has changed: a number, the picture, or the state. */
export type Change = "event" | "preview" | "state";

/** A picture on the way to the result, or the result. */
export interface Picture {
  readonly step: number;
  readonly blob: Blob;
}

/** A job as the page shows it: follows its events, and keeps everything in the store so that a reload loses nothing. */
export class Run implements Follower {
  readonly eta = new Eta();
  readonly #store: Store;
  readonly #leaving = new AbortController();
  readonly #previews = new Map<number, Blob>();
  #record: JobRecord;
  #savedAt = 0;
  #drawingSince = { now: 0, tile: 0 };
  #imagesSaved: Promise<unknown> = Promise.resolve();
  #recordSaved: Promise<void> = Promise.resolve();

  photo: Blob | undefined;
  result: Blob | undefined;
  #draft: Blob | undefined;
  /** Jobs before this one while it waits. */
  position = 0;
  /** When it is expected to start while it waits, in milliseconds since 1970. */
  startTime: number | undefined;
  /** Parts of the preparation that were completed, while it prepares. */
  preparation: { readonly part: number; readonly parts: number } | undefined;
  /** Parts of the result that are drawn at its own size, while it is drawn. */
  drawing: { readonly tile: number; readonly tiles: number } | undefined;
  isConnected = true;
  /** Whether the server asks for a valid token. */
  isRefused = false;
  /** Whether the server no longer has it. */
  isGone = false;
  /** Called after every change. */
  onChange: (change: Change) => void = () => {};
  /** Called after the store has the newest state. */
  onSaved: () => void = () => {};

  constructor(store: Store, record: JobRecord) {
    this.#store = store;
    this.#record = record;
  }

  /** Bring back a job that the store has. */
  static async restore(store: Store, record: JobRecord): Promise<Run> {
    const run = new Run(store, record);
    run.photo = await store.image(record.name, PHOTO);
    run.result = await store.image(record.name, RESULT);
    run.#draft = await store.image(record.name, DRAFT);
    for (const { step, blob } of await store.previews(record.name)) run.#previews.set(step, blob);
    return run;
  }

  get record(): JobRecord {
    return this.#record;
  }

  get name(): string {
    return this.#record.name;
  }

  get isFinal(): boolean {
    return isFinal(this.#record.state);
  }

  /** All previews in order, and the result if there is one. */
  get pictures(): Picture[] {
    const previews = [...this.#previews].map(([step, blob]) => ({ step, blob })).sort((a, b) => a.step - b.step);
    return this.result ? [...previews, { step: this.#record.steps, blob: this.result }] : previews;
  }

  /** A picture in another style, to look at until the first one of this job. */
  get draft(): { readonly blob: Blob; readonly text: string } | undefined {
    const text = this.#record.draftText;
    const isOfUse = !this.isFinal && this.#previews.size === 0;
    return isOfUse && this.#draft && text !== undefined ? { blob: this.#draft, text } : undefined;
  }

  /** The preview that was kept in place of a result. */
  get #kept(): Blob | undefined {
    return this.#record.state === "cancelled" && this.#record.isKept ? this.pictures.at(-1)?.blob : undefined;
  }

  /** Watch the job to its end. */
  async follow(jobs: Jobs): Promise<void> {
    // A result may be stored before the record says so: the list was brought up to date while this job was opened.
    if (this.isFinal && (this.result || this.#record.state !== "succeeded")) return;
    await follow(jobs, this.name, BigInt(this.#record.sequence), this, this.#leaving.signal);
  }

  /** Watch no longer; the job goes on. Afterwards the store has it, and nothing more is written. */
  async leave(): Promise<void> {
    this.#leaving.abort();
    this.onChange = this.onSaved = () => {};
    await this.#save();
  }

  /** Cancel the job; `isKept` keeps its latest preview in place of a result. */
  async cancel(jobs: Jobs, isKept: boolean): Promise<void> {
    this.#update({ isKept });
    await this.#save();
    const job = await jobs.cancel(this.name);
    // The picture of one that was done before comes with its last event.
    if (isFinal(stateOf(job)) && job.state !== Stylization_State.SUCCEEDED) this.ended(job);
  }

  /** Store the job and its photo. */
  async keep(photo: Blob): Promise<void> {
    this.photo = photo;
    await this.#store.addJob(this.#record, photo);
    await this.#keepThumbnail(photo);
    this.onSaved();
  }

  event(message: StylizationEvent): void {
    const { event } = message;
    // What comes late does not revive a job that was cancelled meanwhile.
    if (this.isFinal && event.case !== "result") return;
    let change: Change = "event";
    switch (event.case) {
      case "queued":
        this.position = event.value.position;
        this.startTime = event.value.estimatedStartTime && timestampMs(event.value.estimatedStartTime);
        this.eta.reset();
        change = this.#moveTo("queued");
        break;
      case "started":
        this.eta.reset();
        this.drawing = undefined;
        this.#update({ steps: event.value.steps, step: 0 });
        change = this.#moveTo("running");
        break;
      case "preparing":
        this.preparation = { part: event.value.part, parts: event.value.parts };
        if (event.value.remaining) this.eta.report(durationMs(event.value.remaining), performance.now());
        change = this.#moveTo("running");
        break;
      case "progress":
        this.#progress(event.value);
        change = this.#moveTo("running");
        break;
      case "rendering":
        this.#draw(event.value);
        change = this.#moveTo("running");
        break;
      case "preview":
        this.#preview(event.value);
        change = "preview";
        break;
      case "draft":
        this.#keepDraft(event.value);
        change = "preview";
        break;
      case "warning":
        this.#warn(event.value.code, event.value.message);
        break;
      case "result":
        this.#finish(event.value);
        change = "state";
        break;
    }
    this.#update({ sequence: String(message.sequence) });
    if (change !== "event" || Date.now() - this.#savedAt > SAVE_INTERVAL_MS) void this.#save();
    this.onChange(change);
  }

  underWay(job: Stylization): void {
    if (this.isFinal) return;
    this.isRefused = false;
    this.position = job.queuePosition;
    this.startTime = job.estimatedStartTime && timestampMs(job.estimatedStartTime);
    this.eta.reset();
    this.#update({ step: job.step, steps: job.spec?.options?.steps ?? this.#record.steps });
    this.onChange(this.#moveTo(stateOf(job)));
  }

  connected(isConnected: boolean): void {
    if (isConnected) this.isRefused = false;
    if (isConnected === this.isConnected) return;
    this.isConnected = isConnected;
    this.onChange("event");
  }

  refused(): void {
    this.isRefused = true;
    this.onChange("event");
  }

  ended(job: Stylization): void {
    const isUnreadable = job.state === Stylization_State.SUCCEEDED;
    const problem = job.error ? problemText(StylizeError.fromMessage(job.error)) : isUnreadable ? PICTURE_LOST : "";
    this.#update({ state: isUnreadable ? "failed" : stateOf(job), problem, step: Math.max(job.step, this.#record.step) });
    if (this.#kept) this.#keepImages(this.#keepThumbnail(this.#kept));
    void this.#save();
    this.onChange("state");
  }

  gone(): void {
    this.isGone = true;
    if (!this.isFinal) this.#update({ state: "failed", problem: JOB_LOST });
    void this.#save();
    this.onChange("state");
  }

  #moveTo(state: JobState): "event" | "state" {
    this.isConnected = true;
    if (this.#record.state === state) return "event";
    this.#update({ state });
    return "state";
  }

  #progress({ step, steps, losses, remaining }: StylizationEvent_Progress): void {
    if (remaining) this.eta.report(durationMs(remaining), performance.now());
    if (losses) {
      const { total, direction, patch, content, totalVariation } = losses;
      const point: LossPoint = { step, total, direction, patch, content, totalVariation };
      // After a restart of the server the steps begin anew.
      this.#update({ losses: [...this.#record.losses.filter((earlier) => earlier.step < step), point] });
    }
    this.#update({ step, steps });
  }

  #draw({ tile, tiles }: StylizationEvent_Rendering): void {
    const now = performance.now();
    if (tile === 0 || !this.drawing) this.#drawingSince = { now, tile };
    const { now: begun, tile: before } = this.#drawingSince;
    if (tile > before) this.eta.report(((now - begun) / (tile - before)) * (tiles - tile), now);
    else this.eta.reset();
    this.drawing = { tile, tiles };
    this.#update({ step: this.#record.steps });
  }

  #preview({ step, image, imageData }: StylizationEvent_Preview): void {
    const blob = blobOf(imageData, image?.format);
    this.#previews.set(step, blob);
    this.#update({ step: Math.max(step, this.#record.step) });
    this.#keepImages(this.#store.putImage({ job: this.name, step, blob }));
  }

  #keepDraft({ styleText, image, imageData }: StylizationEvent_Draft): void {
    this.#draft = blobOf(imageData, image?.format);
    this.#update({ draftText: styleText });
    this.#keepImages(this.#store.putImage({ job: this.name, step: DRAFT, blob: this.#draft }));
  }

  #warn(code: string, message: string): void {
    const others = this.#record.warnings.filter((warning) => warning.code !== code);
    this.#update({ warnings: [...others, { code, message }] });
  }

  #finish(event: StylizationEvent_Result): void {
    const { spec, result, imageData } = event;
    this.result = blobOf(imageData, result?.image?.format);
    const steps = stepsOf(event) ?? this.#record.steps;
    this.#update({
      state: "succeeded",
      step: steps,
      steps,
      settings: repeating(this.#record.settings, spec),
      ...pixelsOf(result),
      description: describe(event),
    });
    const image = { job: this.name, step: RESULT, blob: this.result };
    this.#keepImages(this.#store.putImage(image), this.#keepThumbnail(this.result));
  }

  #keepImages(...images: Promise<void>[]): void {
    this.#imagesSaved = Promise.all([this.#imagesSaved, ...images]);
  }

  async #keepThumbnail(image: Blob): Promise<void> {
    const small = await thumbnail(image);
    const isNewest = image === (this.result ?? this.#kept ?? this.photo);
    if (small && isNewest) await this.#store.putImage({ job: this.name, step: THUMBNAIL, blob: small });
  }

  #keptInAnotherTab(): void {
    if (this.#record.isKept) return;
    this.#update({ isKept: true });
    this.onChange("state");
  }

  #update(change: Partial<JobRecord>): void {
    this.#record = { ...this.#record, ...change };
  }

  /** Save the record, after earlier ones and after the images that it counts as received. */
  #save(): Promise<void> {
    this.#savedAt = Date.now();
    const write = async () => {
      const record = this.#record;
      await this.#imagesSaved;
      await this.#store.changeJob(this.name, ({ isKept }) => {
        if (isKept) this.#keptInAnotherTab();
        return { ...record, isKept: record.isKept || isKept };
      });
      this.onSaved();
    };
    this.#recordSaved = this.#recordSaved.then(write);
    return this.#recordSaved;
  }
}

/** Whether a state is the last one. */
export function isFinal(state: JobState): boolean {
  return state === "succeeded" || state === "failed" || state === "cancelled";
}

/** Translate the state of a job. */
export function stateOf(job: Stylization): JobState {
  switch (job.state) {
    case Stylization_State.SUCCEEDED:
      return "succeeded";
    case Stylization_State.FAILED:
      return "failed";
    case Stylization_State.CANCELLED:
      return "cancelled";
    case Stylization_State.RUNNING:
      return "running";
    default:
      return "queued";
  }
}

/** Returns a record of a job that has just been created, or that another browser created. */
export function recordOf(job: Stylization, settings: Settings, photoName: string): JobRecord {
  return {
    name: job.name,
    createdAt: job.createTime ? timestampMs(job.createTime) : Date.now(),
    settings: repeating(settings, job.spec),
    photoName,
    state: isFinal(stateOf(job)) ? "queued" : stateOf(job),
    step: 0,
    steps: job.spec?.options?.steps ?? 0,
    isDrawnLarger: isDrawnLarger(job.spec),
    sequence: "0",
    losses: [],
    warnings: [],
    problem: "",
    isKept: false,
    description: "",
  };
}

/** Returns the size of a result, for the record. */
export function pixelsOf(result: StylizationResult | undefined): Pick<JobRecord, "pixels"> {
  const { widthPx: width, heightPx: height } = result?.image ?? {};
  return width && height ? { pixels: { width, height } } : {};
}

/** Returns how many steps were taken: a run may end before its last one; older servers do not report it. */
export function stepsOf({ spec, result }: Pick<Stylization, "spec" | "result">): number | undefined {
  return result?.stepCount || spec?.options?.steps;
}

/** Returns everything that repeats a result, as JSON. */
export function describe({ spec, result }: Pick<Stylization, "spec" | "result">): string {
  const json = { spec: {}, result: {} };
  if (spec) json.spec = JSON.parse(toJsonString(StylizationSpecSchema, spec)) as object;
  if (result) json.result = JSON.parse(toJsonString(StylizationResultSchema, result)) as object;
  return JSON.stringify(json, null, 2);
}

/** Returns an image of the server. */
export function blobOf(data: Uint8Array, format: number | undefined): Blob {
  return new Blob([data as Uint8Array<ArrayBuffer>], { type: MIME_TYPES[format ?? 0] ?? "" });
}
