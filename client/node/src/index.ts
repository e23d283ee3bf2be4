import { type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager, type GrpcTransportOptions } from "@connectrpc/connect-node";
import { Client } from "./core.js";
import { bearer } from "./credentials.js";
import { invalid } from "./errors.js";
import { reportLostConnections } from "./lost.js";

export * from "./core.js";

/** Where a server listens by default. */
export const DEFAULT_TARGET = "127.0.0.1:50051";
const KEEPALIVE_MS = 60_000;
// Node.js resets a stream whose response begins while more than this waits to be sent: by default 10 MB, less than a photo.
const MAX_SESSION_MEMORY_MB = 256;

/**
 * Options of the transport, for instance `nodeOptions: { ca, cert, key }` for TLS with a certificate authority, and a
 * client certificate, of your own; and the bearer token for a server that asks for one, which leaves this machine only
 * encrypted.
 */
export type ConnectOptions = Omit<GrpcTransportOptions, "baseUrl" | "sessionManager"> & { readonly token?: string };

/**
 * Connect to a server by gRPC. `target` is "HOST:PORT", or a URL; "https://HOST:PORT" for TLS. Throws `StylizeError` for
 * what is neither.
 */
export function connect(target: string = DEFAULT_TARGET, { nodeOptions, token, ...options }: ConnectOptions = {}): Client {
  const baseUrl = urlOf(target);
  const sessionOptions = { maxSessionMemory: MAX_SESSION_MEMORY_MB, ...nodeOptions };
  const sessionManager = new Http2SessionManager(baseUrl, { pingIntervalMs: KEEPALIVE_MS, ...options }, sessionOptions);
  const interceptors = [...(options.interceptors ?? []), ...bearer(token, baseUrl), beginRunning, reportLostConnections];
  const transport = createGrpcTransport({ ...options, interceptors, baseUrl, sessionManager });
  return new Client(transport, { close: () => sessionManager.abort() });
}

/** Begins no call that has ended already: the transport would connect for it, also after it was closed. */
const beginRunning: Interceptor = (next) => async (request) => {
  request.signal.throwIfAborted();
  return next(request);
};

function urlOf(target: string): string {
  const url = target.includes("://") ? target : `http://${target}`;
  if (/^https?:/.test(url) && URL.canParse(url)) return url;
  throw invalid("target", `${JSON.stringify(target)} is no address of a server: use HOST:PORT, such as ${DEFAULT_TARGET}`);
}
