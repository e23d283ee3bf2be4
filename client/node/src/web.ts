import { createGrpcWebTransport, type GrpcWebTransportOptions } from "@connectrpc/connect-web";
import { Client } from "./core.js";

export * from "./core.js";

/**
 * Connect by gRPC-Web, through a gateway: by default the one that served the page.
 *
 * For another transport, such as Connect's own, construct a `Client` with it.
 */
export function connect(
  baseUrl: string = globalThis.location.origin,
  options: Omit<GrpcWebTransportOptions, "baseUrl"> = {},
): Client {
  // A browser cannot tell a lost connection from a stream that a proxy reset.
  return new Client(createGrpcWebTransport({ ...options, baseUrl }), { oneShotResumesAfter: "reported" });
}
