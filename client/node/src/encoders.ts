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

/** The encoders themselves; without an `encoderSet` the server's first is used. Every call throws `StylizeError`. */
export class Encoders {
  readonly #stub: Stub<typeof EncoderService>;
  readonly #calls: Calls;

  constructor(transport: Transport, calls: Calls) {
    this.#stub = createClient(EncoderService, transport);
    this.#calls = calls;
  }

  /** Embed texts, each as one sentence. */
  encodeText(request: MessageInitShape<typeof EncodeTextRequestSchema>, limits?: CallLimits): Promise<EncodeTextResponse> {
    return this.#calls.call((options) => this.#stub.encodeText(request, options), limits);
  }

  /** Embed images. */
  encodeImage(
    request: MessageInitShape<typeof EncodeImageRequestSchema>,
    limits?: CallLimits,
  ): Promise<EncodeImageResponse> {
    return this.#calls.call((options) => this.#stub.encodeImage(request, options), limits);
  }

  /** Get the direction from a source text to a style text. */
  textDirection(
    request: MessageInitShape<typeof GetTextDirectionRequestSchema>,
    limits?: CallLimits,
  ): Promise<GetTextDirectionResponse> {
    return this.#calls.call((options) => this.#stub.getTextDirection(request, options), limits);
  }

  /** Rank labels by how well they describe an image, the most probable first. */
  classify(
    request: MessageInitShape<typeof ClassifyImageRequestSchema>,
    limits?: CallLimits,
  ): Promise<ClassifyImageResponse> {
    return this.#calls.call((options) => this.#stub.classifyImage(request, options), limits);
  }

  /** Measure a stylized image against its photo and its text. */
  evaluate(
    request: MessageInitShape<typeof EvaluateStylizationRequestSchema>,
    limits?: CallLimits,
  ): Promise<EvaluateStylizationResponse> {
    return this.#calls.call((options) => this.#stub.evaluateStylization(request, options), limits);
  }
}
