import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { createClient, type CallOptions, type Client as Stub, type Transport } from "@connectrpc/connect";
import { brokenResult, invalid, StylizeError } from "./errors.js";
import { type ImageFormat } from "./gen/clipstyler/v1/image_pb.js";
import { type Style, type StyleControlsSchema } from "./gen/clipstyler/v1/style_pb.js";
import {
  ApplyStyleRequestSchema,
  StyleService,
  type ApplyStyleRequest,
  type ApplyStyleResponse,
  type ListStylesResponse,
  type StyleApplicationSchema,
} from "./gen/clipstyler/v1/style_service_pb.js";
import { type Stylization } from "./gen/clipstyler/v1/stylization_pb.js";
import { ImageParts, joined, readImage, sha256, type JobImage } from "./images.js";
import { fullName, jobFields, wholeJob, type JobInit } from "./jobs.js";
import { begun, messages } from "./responses.js";
import { type CallLimits, type Calls } from "./retry.js";
import { bytesOf, checkArray, checkText, checkTotal, photoField, textSpec, type Photo, type TextInit } from "./spec.js";

/** How photos are stylized. Everything that is left out has a default: the server's. */
export interface StyleInit {
  /** Name of a style, or its bare SHA-256. */
  readonly style: string;
  /** A style that is mixed in. */
  readonly secondStyle?: string;
  /** `strength`, `preserveColor`, `mix`, `outputSize`. */
  readonly controls?: MessageInitShape<typeof StyleControlsSchema>;
  /** Encoding of the results. Default: PNG. */
  readonly resultFormat?: ImageFormat;
}

/** What `fit` takes: a text, the photos that a style is fitted to, and how the job is treated. */
export interface FitInit extends TextInit, JobInit {
  /**
   * At most 16, which take turns; what is no upload is sent with the request, whose size the server limits. Default: a few
   * that come with the server.
   */
  readonly photos?: readonly Photo[];
}

/** What `render` takes: a style and a photo, or a finished job that kept its style; a photo is optional then. */
export type RenderInit =
  | (StyleInit & { readonly photo: Photo; readonly job?: undefined })
  | (Omit<StyleInit, "style"> & { readonly style?: undefined; readonly job: string; readonly photo?: Photo });

/** In which portions styles are listed. */
export interface ListStylesInit {
  readonly pageSize?: number;
  readonly pageToken?: string;
}

/** Photos of a call, each taken from here when it is due. */
export type StylePhotos = Iterable<Photo> | AsyncIterable<Photo>;

/** One photo of a call, by its number from 0: its image, or the error why there is none. */
export type StyledPhoto = { readonly index: number } & (
  | { readonly image: JobImage; readonly error?: undefined }
  | { readonly image?: undefined; readonly error: StylizeError }
);

/** Styles: fitted once, applied to any number of photos. Every call throws `StylizeError`. */
export class Styles {
  readonly #stub: Stub<typeof StyleService>;
  readonly #calls: Calls;

  constructor(transport: Transport, calls: Calls) {
    this.#stub = createClient(StyleService, transport);
    this.#calls = calls;
  }

  /** Make a style of a finished job that was created with the option `keepStyle`. */
  async create(job: string, limits?: CallLimits): Promise<Style> {
    const request = { stylization: fullName(job) };
    return whole((await this.#calls.call((options) => this.#stub.createStyle(request, options), limits)).style);
  }

  /**
   * Create a job that fits a style to a text on photos; `jobs` watches and cancels it, and its result names the style.
   *
   * Retries create it once: the call is idempotent by its request id.
   */
  async fit(init: FitInit, limits?: CallLimits): Promise<Stylization> {
    const { photos: given = [] } = init;
    checkArray(given, "photos");
    const photos = await Promise.all(given.map(async (photo) => ({ photo: await photoField(photo) })));
    checkTotal(photos.flatMap(({ photo }) => (photo.case === "image" ? [photo.value] : [])));
    const request = { fit: { spec: textSpec(init), photos }, ...jobFields(init) };
    return wholeJob((await this.#calls.call((options) => this.#stub.createStyle(request, options), limits)).stylization);
  }

  /** Get a style, with its thumbnail, by its name or bare SHA-256. */
  async get(name: string, limits?: CallLimits): Promise<Style> {
    const request = { name: styleName(name) };
    return whole((await this.#calls.call((options) => this.#stub.getStyle(request, options), limits)).style);
  }

  /** Iterate over all styles: the bundled ones, then others, newest first. */
  async *list(init: ListStylesInit = {}, limits?: CallLimits): AsyncGenerator<Style, void, undefined> {
    let { pageToken = "" } = init;
    do {
      const page = await this.page({ ...init, pageToken }, limits);
      yield* page.styles;
      pageToken = page.nextPageToken;
    } while (pageToken);
  }

  /** Get one page of styles. */
  async page(init: ListStylesInit = {}, limits?: CallLimits): Promise<ListStylesResponse> {
    return this.#calls.call((options) => this.#stub.listStyles(init, options), limits);
  }

  /** Delete a style that is not bundled. */
  async delete(name: string, limits?: CallLimits): Promise<void> {
    const request = { name: styleName(name) };
    await this.#calls.call((options) => this.#stub.deleteStyle(request, options), limits);
  }

  /** Download the file of a style, checked against its name. */
  async download(name: string, limits?: CallLimits): Promise<Uint8Array> {
    const request = { name: styleName(name) };
    const begin = (options: CallOptions) => this.#stub.downloadStyle(request, options);
    return this.#calls.call(async (options) => {
      const chunks: Uint8Array[] = [];
      for await (const { data } of messages(begin, options)) chunks.push(data);
      return checkedFile(request.name, joined(chunks));
    }, limits);
  }

  /** Store the file of a style. */
  async upload(file: Uint8Array | Blob, limits?: CallLimits): Promise<Style> {
    const data = await bytesOf(file, "file");
    return whole((await this.#calls.call((options) => this.#stub.uploadStyle({ data }, options), limits)).style);
  }

  /**
   * Apply a style to photos: iterate over what becomes of each, as it is done. Leaving the loop ends the call.
   *
   * Photos are taken from their source as fast as the server takes them, and results wait at the server until they are
   * read. A photo that cannot be used has an `error`, and the others go on; an error of the source is thrown as it is,
   * after the photos before it. Until the first answer the call is retried, with the photos that were sent. Not possible
   * in browsers, which cannot stream photos to a server: `render` draws one.
   */
  async *apply(init: StyleInit, photos: StylePhotos, limits?: CallLimits): AsyncGenerator<StyledPhoto, void, undefined> {
    const deadline = this.#calls.deadline(limits);
    const source = new PhotoSource(photos);
    const how = application(init);
    const begin = (options: CallOptions) => this.#stub.applyStyle(source.requests(how), options);
    try {
      const responses = await this.#calls.retried((options) => begun(messages(begin, options)), deadline);
      source.answered();
      yield* styledPhotos(responses);
    } catch (thrown) {
      source.end();
      throw deadline.translate(thrown);
    } finally {
      source.leave();
    }
    source.end();
  }

  /** Draw one photo in a style, or in that of a finished job which kept it; without a photo, that of the job. */
  async render(init: RenderInit, limits?: CallLimits): Promise<JobImage> {
    const { job, photo } = init;
    const request = {
      application: application(init),
      stylization: job === undefined ? "" : fullName(job),
      ...(photo !== undefined && { photo: { photo: await photoField(photo) } }),
    };
    const begin = (options: CallOptions) => this.#stub.renderStyle(request, options);
    return this.#calls.call((options) => readImage(messages(begin, options)), limits);
  }
}

/**
 * Makes messages of photos. One that cannot be read is the end of them.
 *
 * The transport would end the call instead, without the photos that are being drawn, and report something else. Until
 * the first answer, photos are kept, so that the call can begin again.
 */
class PhotoSource {
  #failure: { readonly thrown: unknown } | undefined;
  #attempts = 0;
  #isAnswered = false;
  #sent: TakenPhoto[] = [];
  #again: TakenPhoto[] = [];
  readonly #photos: Iterator<Photo> | AsyncIterator<Photo>;

  constructor(photos: StylePhotos) {
    if (!isIterable(photos)) throw invalid("photos", "must be photos that can be iterated over");
    this.#photos = Symbol.asyncIterator in photos ? photos[Symbol.asyncIterator]() : photos[Symbol.iterator]();
  }

  /** Throw what the source threw, if anything. */
  end(): void {
    if (this.#failure) throw this.#failure.thrown;
  }

  /** Take no more photos. A source that is about to give one is not waited for. */
  leave(): void {
    this.#attempts++;
    void this.#close();
  }

  /** Record that the server answered. */
  answered(): void {
    this.#isAnswered = true;
    this.#sent = [];
  }

  /** Return the messages of an attempt, from the first one on; those of attempts before end. */
  requests(how: Application): AsyncGenerator<ApplyStyleRequest, void, undefined> {
    this.#again.unshift(...this.#sent);
    this.#sent = [];
    return this.#requests(how, ++this.#attempts);
  }

  async *#requests(how: Application, attempt: number): AsyncGenerator<ApplyStyleRequest, void, undefined> {
    yield create(ApplyStyleRequestSchema, { part: { case: "application", value: how } });
    while (attempt === this.#attempts) {
      const photo = await this.#due();
      if (!photo) return;
      yield create(ApplyStyleRequestSchema, { part: { case: "photo", value: { photo } } });
    }
  }

  #due(): TakenPhoto {
    const photo = this.#again.shift() ?? this.#next();
    if (!this.#isAnswered) this.#sent.push(photo);
    return photo;
  }

  async #close(): Promise<void> {
    try {
      await this.#photos.return?.();
    } catch {
      // nobody reads it any more
    }
  }

  async #next(): TakenPhoto {
    try {
      const { done, value } = await this.#photos.next();
      return done ? undefined : await photoField(value);
    } catch (thrown) {
      this.#failure = { thrown };
      return undefined;
    }
  }
}

/** Whether there are photos to iterate over: callers without TypeScript may pass anything. */
function isIterable(photos: unknown): boolean {
  return typeof photos === "object" && photos !== null && (Symbol.asyncIterator in photos || Symbol.iterator in photos);
}

/** A photo that was asked for; undefined behind the last one. */
type TakenPhoto = Promise<Awaited<ReturnType<typeof photoField>> | undefined>;

async function* styledPhotos(responses: AsyncIterable<ApplyStyleResponse>): AsyncGenerator<StyledPhoto, void, undefined> {
  const parts = new ImageParts();
  for await (const { photoIndex: index, part } of responses) {
    if (part.case === "error") yield { index, error: StylizeError.fromMessage(part.value) };
    if (part.case !== "metadata" && part.case !== "data") continue;
    const image = await parts.add(part);
    if (image) yield { index, image };
  }
  if (parts.isIncomplete) throw brokenResult("the response ended within an image");
}

function application(init: Omit<StyleInit, "style"> & { readonly style?: string | undefined }): Application {
  const { style, secondStyle, controls = {}, resultFormat } = init;
  return {
    style: styleName(style ?? ""),
    secondStyle: styleName(secondStyle ?? ""),
    controls,
    ...(resultFormat !== undefined && { resultFormat }),
  };
}

type Application = MessageInitShape<typeof StyleApplicationSchema>;

async function checkedFile(name: string, data: Uint8Array): Promise<Uint8Array> {
  const digest = await sha256(data);
  const hex = digest && Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (hex !== undefined && styleName(hex) !== name) throw brokenResult(`a file with the digest ${hex} arrived for ${name}`);
  return data;
}

function whole(style: Style | undefined): Style {
  if (!style) throw brokenResult("the response has no style");
  return style;
}

/** Complete a bare SHA-256 to a resource name. */
function styleName(name: string): string {
  checkText(name, "name");
  return name === "" || name.includes("/") ? name : `styles/${name}`;
}
