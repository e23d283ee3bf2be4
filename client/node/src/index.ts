import { createGrpcTransport, Http2SessionManager, type GrpcTransportOptions } from "@connectrpc/connect-node";
import { Client } from "./core.js";

export * from "./core.js";

/** Where a server listens by default. */
export const DEFAULT_TARGET = "127.0.0.1:50051";
const KEEPALIVE_MS = 60_000;

/** Options of the transport, for instance `nodeOptions: { ca }` for TLS with a certificate authority of your own. */
export type ConnectOptions = Omit<GrpcTransportOptions, "baseUrl" | "sessionManager">;

/**
 * Connect to a server by gRPC. `target` is "HOST:PORT", or a URL; "https://HOST:PORT" for TLS.
 */
export function connect(target: string = DEFAULT_TARGET, { nodeOptions, ...options }: ConnectOptions = {}): Client {
  const baseUrl = target.includes("://") ? target : `http://${target}`;
  const sessionManager = new Http2SessionManager(baseUrl, { pingIntervalMs: KEEPALIVE_MS, ...options }, nodeOptions);
  const transport = createGrpcTransport({ ...options, baseUrl, sessionManager });
  return new Client(transport, { close: () => sessionManager.abort() });
}
