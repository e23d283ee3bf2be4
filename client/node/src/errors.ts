import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Error as ErrorMessage } from "./gen/clipstyler/v1/error_pb.js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/details_pb.js";

/** A field of the request that cannot be used, by its path in the contract, and why. */
export interface FieldViolation {
  readonly field: string;
  readonly description: string;
}

/** What the server reports about an error besides its code and message. */
export interface ErrorDetails {
  /** Stable reason in UPPER_SNAKE_CASE; "" if the server gave none. */
  readonly reason: string;
  /** Every variable part of the message, by name. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Every field that cannot be used. */
  readonly violations: readonly FieldViolation[];
  /** Milliseconds after which a retry makes sense; undefined if the server recommends none. */
  readonly retryDelayMs: number | undefined;
}

// What is reported for a connection that broke, and for a stream that a proxy reset or ended without a status.
const INTERRUPTED: readonly Code[] = [Code.Unavailable, Code.Internal, Code.Unknown];
// What Connect reports for a request that does not fit the contract, with the field if it knows it. It was never sent.
const UNSENDABLE = /^serialize binary: (?:cannot encode field ([\w.]+) to binary: )?(.*)$/s;
const NO_DETAILS: ErrorDetails = { reason: "", metadata: {}, violations: [], retryDelayMs: undefined };

/** A call or a job failed. */
export class StylizeError extends Error implements ErrorDetails {
  override readonly name = "StylizeError";
  readonly reason: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly violations: readonly FieldViolation[];
  readonly retryDelayMs: number | undefined;

  constructor(
    /** Canonical code, for instance `Code.InvalidArgument`. */
    readonly code: Code,
    message: string,
    details: Partial<ErrorDetails> = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
    const { reason, metadata, violations, retryDelayMs } = { ...NO_DETAILS, ...details };
    this.reason = reason;
    this.metadata = metadata;
    this.violations = violations;
    this.retryDelayMs = retryDelayMs;
  }

  /** Whether a stream broke on the way: an error that the server itself reports has a reason. */
  get isInterruption(): boolean {
    return this.reason === "" && INTERRUPTED.includes(this.code);
  }

  /** Translate whatever a call threw. */
  static from(thrown: unknown): StylizeError {
    if (thrown instanceof StylizeError) return thrown;
    const error = ConnectError.from(thrown);
    const unsendable = error.code === Code.Internal && UNSENDABLE.exec(error.rawMessage);
    if (unsendable) return invalid(unsendable[1], unsendable[2]!, error);
    return new StylizeError(error.code, error.rawMessage, detailsOf(error), { cause: error });
  }

  /** Translate the error that a job or a failed event carries. */
  static fromMessage(error: ErrorMessage): StylizeError {
    return new StylizeError(error.code as number as Code, error.message, {
      reason: error.reason,
      metadata: error.metadata,
      violations: error.fieldViolations.map(({ field, description }) => ({ field, description })),
      retryDelayMs: error.retryDelay && durationMs(error.retryDelay),
    });
  }
}

/** The error of bytes that are not those that the server announced. */
export function brokenResult(problem: string): StylizeError {
  return new StylizeError(Code.DataLoss, `${problem}; request it again`, { reason: "BROKEN_RESULT" });
}

/** The error of what the client itself refuses: of an argument, or of a field by its full name in the contract, if it is known. */
export function invalid(field: string | undefined, description: string, cause?: unknown): StylizeError {
  const reason = "INVALID_FIELD";
  if (field === undefined) return new StylizeError(Code.InvalidArgument, description, { reason }, { cause });
  const details = { reason, metadata: { fields: field }, violations: [{ field, description }] };
  return new StylizeError(Code.InvalidArgument, `${field}: ${description}`, details, { cause });
}

function detailsOf(error: ConnectError): ErrorDetails {
  const [info] = error.findDetails(ErrorInfoSchema);
  const [request] = error.findDetails(BadRequestSchema);
  const [retry] = error.findDetails(RetryInfoSchema);
  return {
    reason: info?.reason ?? "",
    metadata: info?.metadata ?? {},
    violations: (request?.fieldViolations ?? []).map(({ field, description }) => ({ field, description })),
    retryDelayMs: retry?.retryDelay && durationMs(retry.retryDelay),
  };
}
