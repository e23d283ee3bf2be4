import { create } from "@bufbuild/protobuf";
import { Code, createClient, type CallOptions, type Client as Stub, type Transport } from "@connectrpc/connect";
import { Encoders } from "./encoders.js";
import { StylizeError } from "./errors.js";
import {
  ServerInfo_Worker_State,
  ServerInfoSchema,
  ServerService,
  type ServerInfo,
} from "./gen/clipstyler/v1/server_service_pb.js";
import { type Stylization_Priority } from "./gen/clipstyler/v1/stylization_pb.js";
import { StylizationService, type StylizeResponse } from "./gen/clipstyler/v1/stylization_service_pb.js";
import { Jobs } from "./jobs.js";
import { Calls, RETRY_POLICY, type CallLimits, type RetryPolicy } from "./retry.js";
import { specOf, type SpecInit } from "./spec.js";
import { StylizationStream, type ResumesAfter } from "./stream.js";
import { Styles } from "./styles.js";

const INFO_TIMEOUT_MS = 10_000;
const POLL_MS = 100;
const READY = [ServerInfo_Worker_State.IDLE, ServerInfo_Worker_State.BUSY];

/** What `stylize` takes: what to stylize, and how urgent it is. */
export interface StylizeInit extends SpecInit {
  readonly priority?: Stylization_Priority;
}

/** A connection to a clipstyler server, over any transport of Connect whose last interceptor is `reportLostConnections`. */
export class Client {
  /** Durable jobs: create, watch, list, cancel, download, ... */
  readonly jobs: Jobs;
  /** Styles: fitted once, applied to any number of photos. */
  readonly styles: Styles;
  /** Embeddings, text directions, classification, evaluation. */
  readonly encoders: Encoders;
  readonly #calls: Calls;
  readonly #oneShotResumesAfter: ResumesAfter;
  readonly #stylizations: Stub<typeof StylizationService>;
  readonly #server: Stub<typeof ServerService>;
  readonly #close: () => void;

  constructor(transport: Transport, settings: ClientSettings = {}) {
    const { policy = RETRY_POLICY, oneShotResumesAfter = "connection", close = () => {} } = settings;
    this.#calls = new Calls(policy);
    this.#oneShotResumesAfter = oneShotResumesAfter;
    this.#close = close;
    this.#stylizations = createClient(StylizationService, transport);
    this.#server = createClient(ServerService, transport);
    this.jobs = new Jobs(this.#stylizations, this.#calls);
    this.styles = new Styles(transport, this.#calls);
    this.encoders = new Encoders(transport, this.#calls);
  }

  /**
   * Stylize a photo by a text while the call lasts: iterate over the stream, or await its `result()`.
   *
   * A call that a restart of the server interrupts begins again: its events start over, with the same result if a
   * `seed` is given. `jobs.create` and `jobs.watch` continue instead.
   */
  stylize(init: StylizeInit, limits: CallLimits = {}): StylizationStream {
    const { priority } = init;
    const stub = this.#stylizations;
    async function* begin(_sequence: bigint, options: CallOptions): AsyncGenerator<StylizeResponse, void, undefined> {
      const request = { spec: await specOf(init), ...(priority !== undefined && { priority }) };
      yield* stub.stylize(request, options);
    }
    return new StylizationStream(begin, { ...limits, calls: this.#calls, resumesAfter: this.#oneShotResumesAfter });
  }

  /** Get version, limits, encoder sets, workers and queue. */
  async serverInfo(limits?: CallLimits): Promise<ServerInfo> {
    const attempt = (options: CallOptions) => this.#server.getServerInfo({}, options);
    const response = await this.#calls.call(attempt, limits, INFO_TIMEOUT_MS);
    return response.serverInfo ?? create(ServerInfoSchema);
  }

  /** Wait until a worker takes jobs; UNAVAILABLE if none does in time. */
  async waitUntilReady(timeoutMs = 60_000): Promise<ServerInfo> {
    const deadline = this.#calls.deadline({ timeoutMs });
    let problem = "its worker is still starting";
    for (;;) {
      try {
        const info = await this.serverInfo({ timeoutMs: Math.min(INFO_TIMEOUT_MS, deadline.leftMs) });
        if (info.workers.some(({ state }) => READY.includes(state))) return info;
      } catch (error) {
        problem = StylizeError.from(error).message;
      }
      const late = new StylizeError(Code.Unavailable, `the server was not ready after ${timeoutMs} ms: ${problem}`);
      await deadline.wait(POLL_MS, late);
    }
  }

  /** Close the connection; running calls are cancelled, and later ones, too. */
  close(): void {
    this.#calls.close();
    this.#close();
  }
}

/** What the constructor of a client takes besides its transport. */
export interface ClientSettings {
  /** When failed calls are repeated. */
  readonly policy?: RetryPolicy;
  /** After which interruptions `stylize` begins again; default: also after a lost connection. */
  readonly oneShotResumesAfter?: Exclude<ResumesAfter, "any">;
  /** Closes the transport. */
  readonly close?: () => void;
}
