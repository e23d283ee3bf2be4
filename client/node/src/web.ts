import { createGrpcWebTransport, type GrpcWebTransportOptions } from "@connectrpc/connect-web";
import { Client } from "./core.js";
import { bearer } from "./credentials.js";
import { invalid } from "./errors.js";
import { reportLostConnections } from "./lost.js";

export * from "./core.js";

/**
 * Connect by gRPC-Web, through a gateway: by default the one that served the page.
 *
 * Throws `StylizeError` for what is no URL that can be called. For another transport, such as Connect's own, construct a `Client` with it; `reportLostConnections` is its last interceptor.
 */
export function connect(
  baseUrl: string = globalThis.location.origin,
  { token, ...options }: Omit<GrpcWebTransportOptions, "baseUrl"> & { readonly token?: string } = {},
): Client {
  checkUrl(baseUrl);
  const interceptors = [...(options.interceptors ?? []), ...bearer(token, baseUrl), reportLostConnections];
  const transport = createGrpcWebTransport({ ...options, interceptors, baseUrl });
  // A browser cannot tell a lost connection from a stream that a proxy reset.
  return new Client(transport, { oneShotResumesAfter: "reported" });
}

/** Refuse what `fetch` would report in the same way as a lost connection. */
function checkUrl(baseUrl: string): void {
  const page = (globalThis.location as Location | undefined)?.href;
  const url = URL.canParse(baseUrl, page) ? new URL(baseUrl, page) : undefined;
  if (url && /^https?:$/.test(url.protocol) && !url.username && !url.password) return;
  throw invalid("baseUrl", "is no address of a gateway: use http:// or https://, without a name or password");
}
