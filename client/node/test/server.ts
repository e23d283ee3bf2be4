// A server in this process that plays scripts.
import { type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createRouterTransport, type ServiceImpl } from "@connectrpc/connect";
import { createHash } from "node:crypto";
import { Client, RETRY_POLICY, type ClientSettings, StylizationService, StylizationEventSchema } from "../src/core.js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../src/gen/google/rpc/details_pb.js";

export const IMAGE = new Uint8Array(1000).map((_, index) => index % 251);
export const PHOTO = new Uint8Array([1, 2, 3]);

export type Body = MessageInitShape<typeof StylizationEventSchema>["event"];

export function imageMetadata(data: Uint8Array) {
  return { sizeBytes: BigInt(data.length), sha256: createHash("sha256").update(data).digest(), widthPx: 64, heightPx: 48 };
}

export function result(data: Uint8Array, inline = true): Body {
  const value = { result: { image: imageMetadata(data) }, imageData: inline ? data : new Uint8Array() };
  return { case: "result", value };
}

export function numbered(bodies: readonly Body[], after = 0n) {
  const events = bodies.map((event, index) => ({ event: { sequence: BigInt(index + 1), event: event! } }));
  return events.filter(({ event }) => event.sequence > after);
}

export async function* play(bodies: readonly Body[], after = 0n) {
  yield* numbered(bodies, after);
}

export function failure(code: Code, reason: string, retryDelayMs?: number): ConnectError {
  const details = [{ desc: ErrorInfoSchema, value: { reason, domain: "clipstyler.dev", metadata: { state: "starting" } } }];
  const error = new ConnectError(`${reason} happened`, code, undefined, details);
  if (retryDelayMs !== undefined) {
    error.details.push({ desc: RetryInfoSchema, value: { retryDelay: durationFromMs(retryDelayMs) } });
  }
  return error;
}

export function badRequest(...fields: string[]): ConnectError {
  const error = failure(Code.InvalidArgument, "INVALID_FIELD");
  const fieldViolations = fields.map((field) => ({ field, description: "is wrong" }));
  error.details.push({ desc: BadRequestSchema, value: { fieldViolations } });
  return error;
}

/** A client of a server that has these methods, with short delays between retries. */
export function clientOf(
  methods: Partial<ServiceImpl<typeof StylizationService>>,
  settings: ClientSettings = {},
): Client {
  const transport = createRouterTransport(({ service }) => service(StylizationService, methods));
  return new Client(transport, { policy: { ...RETRY_POLICY, initialBackoffMs: 1, maxBackoffMs: 5 }, ...settings });
}

