import { type Interceptor } from "@connectrpc/connect";

const LOOPBACK = /^(127(\.\d+){3}|\[::1\]|localhost|.+\.localhost)$/;

/**
 * Interceptors that show a bearer token with every call to a server; none without a token.
 *
 * @throws Error if the token would leave this machine without encryption.
 */
export function bearer(token: string | undefined, baseUrl: string): Interceptor[] {
  if (token === undefined) return [];
  const { protocol, hostname, host } = new URL(baseUrl);
  if (protocol !== "https:" && !LOOPBACK.test(hostname)) {
    throw new Error(`the token would be sent to ${host} without encryption: connect to https://${host}`);
  }
  return [
    (next) => (request) => {
      request.header.set("authorization", `Bearer ${token}`);
      return next(request);
    },
  ];
}
