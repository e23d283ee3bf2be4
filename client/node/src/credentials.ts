import { type Interceptor } from "@connectrpc/connect";
import { invalid } from "./errors.js";

const LOOPBACK = /^(127(\.\d+){3}|\[::1\]|localhost|.+\.localhost)$/;
// What a header may contain.
const TOKEN = /^[\x21-\x7e]+$/;

/**
 * Interceptors that show a bearer token with every call to a server; none without a token.
 *
 * @throws StylizeError if the token has characters that no token has, or would leave this machine without encryption.
 */
export function bearer(token: string | undefined, baseUrl: string): Interceptor[] {
  if (!token) return [];
  if (!TOKEN.test(token)) throw invalid("token", "has characters that no token has");
  const { protocol, hostname, host } = new URL(baseUrl);
  if (protocol !== "https:" && !LOOPBACK.test(hostname)) {
    throw invalid("token", `would be sent to ${host} without encryption: connect to https://${host}`);
  }
  return [
    (next) => (request) => {
      request.header.set("authorization", `Bearer ${token}`);
      return next(request);
    },
  ];
}
