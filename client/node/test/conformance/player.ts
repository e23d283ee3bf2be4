/** Plays conformance cases with this client; runs in Node.js and in browsers. */

import { fromJson, type DescEnum, type JsonObject } from "@bufbuild/protobuf";
import {
  Code,
  ImageFormatSchema,
  ServerInfo_Worker_State,
  StyleApplicationSchema,
  Stylization_CancelReasonSchema,
  Stylization_ImageKindSchema,
  Stylization_PrioritySchema,
  Stylization_StateSchema,
  StylizationSpecSchema,
  StylizeError,
  type Client,
  type FitInit,
  type ImageMetadata,
  type JobImage,
  type JobInit,
  type Photo,
  type SpecInit,
  type Style,
  type StyledPhoto,
  type Stylization,
  type StylizationEvent,
  type StylizationEvent_Draft,
  type StylizationStream,
  type TextInit,
} from "../../src/core.js";
import { mismatches, type Outcome } from "./matching.js";

const EVENTUALLY_MS = 30_000;
const PAUSE_MS = 50;

export interface Step {
  readonly control?: string;
  readonly call?: string;
  readonly spec?: JsonObject;
  readonly photo?: string;
  readonly upload?: string;
  readonly request_id?: string;
  readonly priority?: string;
  readonly timeout_s?: number;
  readonly job?: string;
  readonly after_sequence?: number;
  readonly state?: string;
  readonly kind?: string;
  readonly texts?: string[];
  readonly style?: string;
  readonly second_style?: string;
  readonly file?: string;
  readonly photos?: string[];
  readonly controls?: JsonObject;
  readonly result_format?: string;
  readonly stop_after?: number;
  readonly at?: { readonly event: string; readonly stop?: boolean; readonly control?: string };
  readonly parallel?: number;
  readonly eventually?: boolean;
  readonly expect?: Outcome;
  readonly save?: Record<string, string>;
}

export interface Case {
  readonly name: string;
  readonly server: string;
  readonly steps: readonly Step[];
}

export interface Report {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
}

/** The test's control: cases, photos, gates and servers. */
export class Control {
  constructor(private readonly address: string) {}

  async get(path: string): Promise<Response> {
    return fetch(`${this.address}/${path}`);
  }

  async post(path: string): Promise<void> {
    await (await fetch(`${this.address}/${path}`, { method: "POST" })).text();
  }
}

/** Play a case with a client. */
export async function play(control: Control, client: Client, { name, steps }: Case): Promise<Report> {
  try {
    await new Player(control, client).play(steps);
    return { name, ok: true, detail: "" };
  } catch (error) {
    return { name, ok: false, detail: error instanceof Error ? error.message : String(error) };
  } finally {
    client.close();
  }
}

class Player {
  readonly #variables: Record<string, unknown> = { uuid: crypto.randomUUID() };

  constructor(
    private readonly control: Control,
    private readonly client: Client,
  ) {}

  async play(steps: readonly Step[]): Promise<void> {
    for (const [index, written] of steps.entries()) {
      const step = this.#filled(written) as Step;
      if (step.control) await this.control.post(step.control);
      if (!step.call) continue;
      const outcome = await this.#matching(step, index + 1);
      for (const [variable, key] of Object.entries(step.save ?? {})) this.#variables[variable] = outcome[key];
    }
  }

  async #matching(step: Step, number: number): Promise<Outcome> {
    const until = performance.now() + (step.eventually ? EVENTUALLY_MS : 0);
    for (;;) {
      const outcomes = await Promise.all(Array.from({ length: step.parallel ?? 1 }, () => this.#outcome(step)));
      const wrong = outcomes.flatMap((outcome) => mismatches(step.expect ?? {}, outcome));
      if (!wrong.length) return outcomes[0]!;
      if (performance.now() > until) throw new Error(`step ${number}, ${step.call}: ${wrong.join("; ")}`);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  /** Put the values of variables into all strings. */
  #filled(value: unknown): unknown {
    if (Array.isArray(value)) return value.map((inner) => this.#filled(inner));
    if (typeof value === "object" && value !== null) {
      return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, this.#filled(inner)]));
    }
    if (typeof value !== "string") return value;
    const whole = /^\$\{(\w+)\}$/.exec(value);
    if (whole) return this.#variables[whole[1]!];
    return value.replace(/\$\{(\w+)\}/g, (_, name: string) => String(this.#variables[name]));
  }

  async #outcome(step: Step): Promise<Outcome> {
    const outcome: Outcome = { code: "OK" };
    try {
      await this.#call(step, outcome);
    } catch (error) {
      if (!(error instanceof StylizeError)) throw error;
      Object.assign(outcome, errorOutcome(error));
    }
    return outcome;
  }

  async #call(step: Step, outcome: Outcome): Promise<void> {
    const { jobs } = this.client;
    const job = step.job ?? "";
    switch (step.call) {
      case "stylize":
        return this.#read(await this.#stylize(step), step, outcome);
      case "watch":
        return this.#read(jobs.watch(job, { afterSequence: BigInt(step.after_sequence ?? 0) }), step, outcome);
      case "create":
        return void Object.assign(outcome, jobOutcome(await this.#create(step)));
      case "get":
        return void Object.assign(outcome, jobOutcome(await jobs.get(job)));
      case "cancel":
        return void Object.assign(outcome, jobOutcome(await jobs.cancel(job)));
      case "delete":
        return jobs.delete(job);
      case "list":
        outcome.jobs = [];
        for await (const { name } of jobs.list(optional("state", numberOf(Stylization_StateSchema, step.state)))) {
          (outcome.jobs as string[]).push(name);
        }
        return;
      case "image": {
        const { data, metadata } = await jobs.download(job, numberOf(Stylization_ImageKindSchema, step.kind));
        return void Object.assign(outcome, await imageOutcome(data, metadata));
      }
      case "upload":
        outcome.upload = (await jobs.upload(await this.#photoBytes(step))).upload;
        return;
      case "info":
        return this.#info(outcome);
      case "encode_text":
        await this.client.encoders.encodeText({ texts: step.texts ?? [] });
        return;
      default:
        return this.#styleCall(step, outcome);
    }
  }

  async #styleCall(step: Step, outcome: Outcome): Promise<void> {
    const { styles } = this.client;
    const style = step.style ?? "";
    switch (step.call) {
      case "style_create":
        return void Object.assign(outcome, styleOutcome(await styles.create(step.job ?? "")));
      case "style_fit":
        return void Object.assign(outcome, jobOutcome(await styles.fit(await this.#fit(step))));
      case "style_get":
        return void Object.assign(outcome, styleOutcome(await styles.get(style)));
      case "style_list": {
        const all: Style[] = [];
        for await (const one of styles.list()) all.push(one);
        outcome.styles = all.map(({ name }) => name);
        outcome.first = all[0]?.name;
        outcome.first_is_bundled = all[0]?.bundled;
        return;
      }
      case "style_delete":
        return styles.delete(style);
      case "style_download": {
        const file = await styles.download(style);
        outcome.bytes = file.length;
        outcome.style = `styles/${await hexDigest(file)}`;
        return;
      }
      case "style_upload": {
        const response = await this.control.get(`styles/${step.file}`);
        return void Object.assign(outcome, styleOutcome(await styles.upload(await response.blob())));
      }
      case "style_apply":
        return this.#apply(step, outcome);
      case "style_render": {
        const { data, metadata } = await this.#render(step);
        return void Object.assign(outcome, await imageOutcome(data, metadata));
      }
      default:
        throw new Error(`unknown call: ${step.call}`);
    }
  }

  async #stylize(step: Step): Promise<StylizationStream> {
    const priority = optional("priority", numberOf(Stylization_PrioritySchema, step.priority));
    const timeoutMs = step.timeout_s === undefined ? undefined : 1000 * step.timeout_s;
    return this.client.stylize({ ...(await this.#spec(step)), ...priority }, { timeoutMs });
  }

  async #create(step: Step): Promise<Stylization> {
    return this.client.jobs.create({ ...(await this.#spec(step)), ...treatment(step) });
  }

  async #fit(step: Step): Promise<FitInit> {
    const photos = await Promise.all((step.photos ?? []).map((photo) => this.#photoBytes({ photo })));
    return { ...textOf(step), ...treatment(step), ...optional("photos", step.photos && photos) };
  }

  async #spec(step: Step): Promise<SpecInit> {
    return { ...textOf(step), photo: await this.#photo(step) };
  }

  async #photo(step: Step): Promise<Photo> {
    if (step.upload === undefined) return this.#photoBytes(step);
    return { $typeName: "clipstyler.v1.UploadImageResponse", upload: step.upload };
  }

  async #photoBytes(step: Step): Promise<Uint8Array> {
    const response = await this.control.get(`photos/${step.photo}`);
    return new Uint8Array(await response.arrayBuffer());
  }

  async #read(stream: StylizationStream, { at }: Step, outcome: Outcome): Promise<void> {
    const events: StylizationEvent[] = [];
    let waiting = at;
    try {
      for await (const event of stream) {
        events.push(event);
        if (waiting?.event !== event.event.case) continue;
        if (waiting?.stop) break;
        if (waiting?.control) await this.control.post(waiting.control);
        waiting = undefined;
      }
    } finally {
      Object.assign(outcome, await eventsOutcome(events));
    }
  }

  async #apply(step: Step, outcome: Outcome): Promise<void> {
    const photos = await Promise.all((step.photos ?? []).map((photo) => this.#photoBytes({ photo })));
    const done: StyledPhoto[] = [];
    try {
      for await (const styled of this.client.styles.apply({ style: step.style ?? "", ...controlsOf(step) }, photos)) {
        done.push(styled);
        if (done.length === step.stop_after) break;
      }
    } finally {
      Object.assign(outcome, await styledOutcome(done));
    }
  }

  async #render(step: Step): Promise<JobImage> {
    const photo = step.photo === undefined ? undefined : await this.#photoBytes(step);
    const { styles } = this.client;
    if (photo === undefined) return styles.render({ job: step.job ?? "", ...controlsOf(step) });
    return styles.render({ style: step.style ?? "", photo, ...controlsOf(step) });
  }

  async #info(outcome: Outcome): Promise<void> {
    const info = await this.client.serverInfo();
    const ready = [ServerInfo_Worker_State.IDLE, ServerInfo_Worker_State.BUSY];
    outcome.version = info.version;
    outcome.max_image_bytes = Number(info.limits?.maxImageBytes);
    outcome.encoder_sets = info.encoderSets.map(({ name }) => name);
    outcome.running = info.queue?.runningCount;
    outcome.ready = info.workers.some(({ state }) => ready.includes(state));
  }
}

/** The text of a step, and how it is followed. */
function textOf(step: Step): TextInit {
  const { styleText, options, previews, resultFormat } = fromJson(StylizationSpecSchema, step.spec ?? {});
  return { styleText, resultFormat, ...optional("options", options), ...optional("previews", previews) };
}

/** How the job of a step is treated. */
function treatment(step: Step): JobInit {
  return {
    ...optional("priority", numberOf(Stylization_PrioritySchema, step.priority)),
    ...optional("requestId", step.request_id),
    ...optional("jobTimeoutMs", step.timeout_s && 1000 * step.timeout_s),
  };
}

/** What `styles.apply` and `styles.render` take besides a style and photos. */
function controlsOf(step: Step) {
  const { controls = {}, result_format: resultFormat, second_style: secondStyle = "" } = step;
  const json = { controls, ...optional("resultFormat", resultFormat) };
  const how = fromJson(StyleApplicationSchema, json);
  return { secondStyle, controls: how.controls ?? {}, resultFormat: how.resultFormat };
}

function optional<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return (value === undefined ? {} : { [key]: value }) as { [P in K]?: V };
}

function numberOf(schema: DescEnum, name: string | undefined): number | undefined {
  return schema.values.find((value) => value.name === name)?.number;
}

function nameOf(schema: DescEnum, number: number): string {
  return schema.value[number]?.name ?? String(number);
}

function errorOutcome(error: StylizeError): Outcome {
  return {
    code: Code[error.code]!.replace(/(?<!^)[A-Z]/g, "_$&").toUpperCase().replace("CANCELED", "CANCELLED"),
    message: error.message,
    reason: error.reason,
    metadata: error.metadata,
    fields: error.violations.map(({ field }) => field).sort(),
    retry_delay_s: error.retryDelayMs === undefined ? null : error.retryDelayMs / 1000,
  };
}

async function eventsOutcome(events: readonly StylizationEvent[]): Promise<Outcome> {
  const bodies = events.map(({ event }) => event);
  const gaps = bodies.flatMap((body) => (body.case === "gap" ? [body.value] : []));
  const last = events.at(-1);
  const outcome: Outcome = {
    events: bodies.map((body) => body.case),
    previews: bodies.filter((body) => body.case === "preview").length,
    in_order: events.every(({ sequence }, index) => index === 0 || sequence >= events[index - 1]!.sequence),
    sequence: Number(last?.sequence ?? 0),
    warnings: bodies.flatMap((body) => (body.case === "warning" ? [body.value.code] : [])),
    skipped_progress: gaps.reduce((sum, gap) => sum + gap.skippedProgressCount, 0),
    log_expired: gaps.some((gap) => gap.logExpired),
    job: last?.stylization ?? "",
  };
  if (last?.event.case === "result") {
    const { imageData, result, spec } = last.event.value;
    const facts = { seed: Number(spec?.options?.seed), fitted_style: result?.style };
    Object.assign(outcome, facts, await imageOutcome(imageData, result?.image));
  }
  const [draft] = bodies.flatMap((body) => (body.case === "draft" ? [body.value] : []));
  return draft ? { ...outcome, ...draftOutcome(draft) } : outcome;
}

function draftOutcome(draft: StylizationEvent_Draft): Outcome {
  return {
    draft_style: draft.style,
    draft_text: draft.styleText,
    draft_similarity: draft.similarity ?? null,
    draft_width: draft.image?.widthPx,
    draft_bytes: draft.imageData.length,
  };
}

async function imageOutcome(data: Uint8Array, metadata: ImageMetadata | undefined): Promise<Outcome> {
  return {
    width: metadata?.widthPx,
    height: metadata?.heightPx,
    format: nameOf(ImageFormatSchema, metadata?.format ?? 0),
    bytes: data.length,
    sha256: await hexDigest(data),
  };
}

async function hexDigest(data: Uint8Array): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data as Uint8Array<ArrayBuffer>));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function styleOutcome(style: Style): Outcome {
  return {
    style: style.name,
    style_text: style.styleText,
    steps: style.stepCount,
    photos: style.photoCount,
    size_bytes: Number(style.sizeBytes),
    bundled: style.bundled,
    thumbnail: style.thumbnail.length > 0,
  };
}

async function styledOutcome(photos: readonly StyledPhoto[]): Promise<Outcome> {
  const images = photos.map(({ image }) => image);
  return {
    indexes: photos.map(({ index }) => index),
    sizes: images.map((image) => (image ? `${image.metadata.widthPx}x${image.metadata.heightPx}` : "")),
    digests: await Promise.all(images.map((image) => (image ? hexDigest(image.data) : ""))),
    reasons: photos.map(({ error }) => error?.reason ?? ""),
    bytes: images.reduce((sum, image) => sum + (image?.data.length ?? 0), 0),
  };
}

function jobOutcome(job: Stylization): Outcome {
  return {
    job: job.name,
    state: nameOf(Stylization_StateSchema, job.state),
    cancel_reason: nameOf(Stylization_CancelReasonSchema, job.cancelReason),
    step: job.step,
    attempts: job.attemptCount,
    style_text: job.spec?.styleText,
    seed: Number(job.spec?.options?.seed),
    error_reason: job.error?.reason ?? "",
    fitted_photos: job.fittedPhotoCount,
    fitted_style: job.result?.style ?? "",
  };
}
