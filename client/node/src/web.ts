import { createGrpcWebTransport, type GrpcWebTransportOptions } from "@connectrpc/connect-web";
import { Client } from "./core.js";
import { bearer } from "./credentials.js";
import { reportLostConnections } from "./lost.js";

export * from "./core.js";

/**
 * Connect by gRPC-Web, through a gateway: by default the one that served the page.
 *
 * For another transport, such as Connect's own, construct a `Client` with it; `reportLostConnections` is its last interceptor.
 */
export function connect(
  baseUrl: string = globalThis.location.origin,
  { token, ...options }: Omit<GrpcWebTransportOptions, "baseUrl"> & { readonly token?: string } = {},
): Client {
  const interceptors = [...(options.interceptors ?? []), ...bearer(token, baseUrl), reportLostConnections];
  const transport = createGrpcWebTransport({ ...options, interceptors, baseUrl });
  // A browser cannot tell a lost connection from a stream that a proxy reset.
  return new Client(transport, { oneShotResumesAfter: "reported" });
}
