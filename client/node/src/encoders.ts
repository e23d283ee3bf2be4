import { type MessageInitShape } from "@bufbuild/protobuf";
import { createClient, type Client as Stub, type Transport } from "@connectrpc/connect";
import {
  EncoderService,
  type ClassifyImageRequestSchema,
  type ClassifyImageResponse,
  type EncodeImageRequestSchema,
  type EncodeImageResponse,
  type EncodeTextRequestSchema,
  type EncodeTextResponse,
  type EvaluateStylizationRequestSchema,
  type EvaluateStylizationResponse,
  type GetTextDirectionRequestSchema,
  type GetTextDirectionResponse,
} from "./gen/clipstyler/v1/encoder_service_pb.js";
import { type CallLimits, type Calls } from "./retry.js";
import { checkArray, checkBytes, checkTotal } from "./spec.js";

/** The encoders themselves; without an `encoderSet` the server's first is used. Every call throws `StylizeError`. */
export class Encoders {
  readonly #stub: Stub<typeof EncoderService>;
  readonly #calls: Calls;

  constructor(transport: Transport, calls: Calls) {
    this.#stub = createClient(EncoderService, transport);
    this.#calls = calls;
  }

  /** Embed texts, each as one sentence. */
  async encodeText(
    request: MessageInitShape<typeof EncodeTextRequestSchema>,
    limits?: CallLimits,
  ): Promise<EncodeTextResponse> {
    checkArray(request.texts, "texts");
    return this.#calls.call((options) => this.#stub.encodeText(request, options), limits);
  }

  /** Embed images. */
  async encodeImage(
    request: MessageInitShape<typeof EncodeImageRequestSchema>,
    limits?: CallLimits,
  ): Promise<EncodeImageResponse> {
    checkArray(request.images, "images");
    const { images = [] } = request;
    images.forEach((image, index) => checkBytes(image, `images[${index}]`));
    checkTotal(images);
    return this.#calls.call((options) => this.#stub.encodeImage(request, options), limits);
  }

  /** Get the direction from a source text to a style text. */
  async textDirection(
    request: MessageInitShape<typeof GetTextDirectionRequestSchema>,
    limits?: CallLimits,
  ): Promise<GetTextDirectionResponse> {
    return this.#calls.call((options) => this.#stub.getTextDirection(request, options), limits);
  }

  /** Rank labels by how well they describe an image, the most probable first. */
  async classify(
    request: MessageInitShape<typeof ClassifyImageRequestSchema>,
    limits?: CallLimits,
  ): Promise<ClassifyImageResponse> {
    checkBytes(request.image, "image");
    checkArray(request.labels, "labels");
    return this.#calls.call((options) => this.#stub.classifyImage(request, options), limits);
  }

  /** Measure a stylized image against its photo and its text. */
  async evaluate(
    request: MessageInitShape<typeof EvaluateStylizationRequestSchema>,
    limits?: CallLimits,
  ): Promise<EvaluateStylizationResponse> {
    checkBytes(request.contentImage, "contentImage");
    checkBytes(request.stylizedImage, "stylizedImage");
    return this.#calls.call((options) => this.#stub.evaluateStylization(request, options), limits);
  }
}
