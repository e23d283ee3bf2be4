import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, type Duration } from "@bufbuild/protobuf/wkt";
import { type CallOptions, type Client as Stub } from "@connectrpc/connect";
import { brokenResult, invalid } from "./errors.js";
import {
  Stylization_ImageKind,
  type Stylization,
  type Stylization_Priority,
  type Stylization_State,
} from "./gen/clipstyler/v1/stylization_pb.js";
import {
  UploadImageRequestSchema,
  type ListStylizationsResponse,
  type StylizationService,
  type UploadImageRequest,
  type UploadImageResponse,
} from "./gen/clipstyler/v1/stylization_service_pb.js";
import { readImage, sha256, type JobImage } from "./images.js";
import { messages } from "./responses.js";
import { type CallLimits, type Calls } from "./retry.js";
import { bytesOf, checkText, specOf, type SpecInit } from "./spec.js";
import { StylizationStream } from "./stream.js";

const UPLOAD_CHUNK_BYTES = 2 ** 20;

/** How a job is treated. */
export interface JobInit {
  /** A UUID4; the same id with the same arguments returns the same job. Default: a fresh one. */
  readonly requestId?: string;
  readonly priority?: Stylization_Priority;
  /** Milliseconds in which the job may wait and run. Default and limit: the server's. */
  readonly jobTimeoutMs?: number;
}

/** What `create` takes: what to stylize, and how the job is treated. */
export interface CreateInit extends SpecInit, JobInit {}

/** Which jobs a list contains, and in which portions they are asked for. */
export interface ListInit {
  /** Default: every state. */
  readonly state?: Stylization_State;
  readonly pageSize?: number;
  readonly pageToken?: string;
}

/** Where a watch begins and when it gives up. */
export interface WatchInit extends CallLimits {
  /** Sequence number of the last event that is known already. */
  readonly afterSequence?: bigint;
  /** Milliseconds without any message from the server after which the watch fails. */
  readonly resumeTimeoutMs?: number;
}

/** Durable jobs: they survive this process, the connection and restarts of the server. Every call throws `StylizeError`. */
export class Jobs {
  readonly #stub: Stub<typeof StylizationService>;
  readonly #calls: Calls;

  constructor(stub: Stub<typeof StylizationService>, calls: Calls) {
    this.#stub = stub;
    this.#calls = calls;
  }

  /** Create a job. Retries create it once: the call is idempotent by its request id. */
  async create(init: CreateInit, limits?: CallLimits): Promise<Stylization> {
    const request = { spec: await specOf(init), ...jobFields(init) };
    const response = await this.#calls.call((options) => this.#stub.createStylization(request, options), limits);
    return wholeJob(response.stylization);
  }

  /** Get a job by its name or bare UUID. */
  async get(name: string, limits?: CallLimits): Promise<Stylization> {
    const request = { name: fullName(name) };
    const response = await this.#calls.call((options) => this.#stub.getStylization(request, options), limits);
    return wholeJob(response.stylization);
  }

  /** Iterate over all jobs, newest first, or those in one state. */
  async *list(init: ListInit = {}, limits?: CallLimits): AsyncGenerator<Stylization, void, undefined> {
    let { pageToken = "" } = init;
    do {
      const page = await this.page({ ...init, pageToken }, limits);
      yield* page.stylizations;
      pageToken = page.nextPageToken;
    } while (pageToken);
  }

  /** Get one page of jobs, newest first. */
  async page(init: ListInit = {}, limits?: CallLimits): Promise<ListStylizationsResponse> {
    return this.#calls.call((options) => this.#stub.listStylizations(init, options), limits);
  }

  /**
   * Watch a job to its end; leaving changes nothing for the job.
   *
   * An interrupted watch resumes after the last event, across restarts of the server and resets by proxies too.
   */
  watch(name: string, init: WatchInit = {}): StylizationStream {
    const watchAfter = (afterSequence: bigint, options: CallOptions) =>
      this.#stub.watchStylization({ name: fullName(name), afterSequence }, options);
    return new StylizationStream(watchAfter, { ...init, calls: this.#calls, resumesAfter: "any" });
  }

  /** Cancel a job within one step; a finished one stays as it is. */
  async cancel(name: string, limits?: CallLimits): Promise<Stylization> {
    const request = { name: fullName(name) };
    const response = await this.#calls.call((options) => this.#stub.cancelStylization(request, options), limits);
    return wholeJob(response.stylization);
  }

  /** Delete a finished job and its images. */
  async delete(name: string, limits?: CallLimits): Promise<void> {
    const request = { name: fullName(name) };
    await this.#calls.call((options) => this.#stub.deleteStylization(request, options), limits);
  }

  /** Download an image of a job: its result, its latest preview, or the photo. */
  async download(name: string, kind = Stylization_ImageKind.RESULT, limits?: CallLimits): Promise<JobImage> {
    const request = { name: fullName(name), kind };
    const begin = (options: CallOptions) => this.#stub.getStylizationImage(request, options);
    return this.#calls.call((options) => readImage(messages(begin, options)), limits);
  }

  /** Send a large photo in parts, for `create`. Not possible in browsers, which send a photo in one message. */
  async upload(photo: Uint8Array | Blob, limits?: CallLimits): Promise<UploadImageResponse> {
    const data = await bytesOf(photo, "photo");
    const header = { sizeBytes: BigInt(data.length), sha256: (await sha256(data)) ?? new Uint8Array() };
    return this.#calls.call((options) => this.#stub.uploadImage(uploadMessages(data, header), options), limits);
  }
}

type Header = Extract<MessageInitShape<typeof UploadImageRequestSchema>["part"], { case: "header" }>["value"];

async function* uploadMessages(photo: Uint8Array, header: Header): AsyncGenerator<UploadImageRequest, void, undefined> {
  yield create(UploadImageRequestSchema, { part: { case: "header", value: header } });
  for (let start = 0; start < photo.length; start += UPLOAD_CHUNK_BYTES) {
    const data = photo.subarray(start, start + UPLOAD_CHUNK_BYTES);
    yield create(UploadImageRequestSchema, { part: { case: "data", value: data } });
  }
}

/** Build what a request says about the treatment of its job. */
export function jobFields({ requestId = randomUuid4(), priority, jobTimeoutMs }: JobInit) {
  return {
    requestId,
    ...(priority !== undefined && { priority }),
    ...(jobTimeoutMs !== undefined && { timeout: durationOf(jobTimeoutMs) }),
  };
}

function durationOf(jobTimeoutMs: number): Duration {
  if (!Number.isFinite(jobTimeoutMs)) throw invalid("jobTimeoutMs", `must be a number of milliseconds, got ${jobTimeoutMs}`);
  return durationFromMs(jobTimeoutMs);
}

/** Return the job of a response. */
export function wholeJob(stylization: Stylization | undefined): Stylization {
  if (!stylization) throw brokenResult("the response has no job");
  return stylization;
}

/** Complete a bare UUID to a resource name. */
export function fullName(name: string): string {
  checkText(name, "name");
  return name.includes("/") ? name : `stylizations/${name}`;
}

/** `crypto.randomUUID` exists in secure contexts only. */
function randomUuid4(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
